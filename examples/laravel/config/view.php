<?php

/**
 * Directories of the views and of the compiled views.
 */

declare(strict_types=1);

return [
    'paths' => [resource_path('views')],
    'compiled' => storage_path('framework/views'),
];
