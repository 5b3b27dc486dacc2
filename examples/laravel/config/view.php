<?php

/**
 * Where views are, and where they are compiled to.
 */

declare(strict_types=1);

return [
    'paths' => [resource_path('views')],
    'compiled' => storage_path('framework/views'),
];
