<?php

/**
 * Loaded by PHPStan before it analyses an application: gives our broker the name that code of Toporia's guides checks for.
 */

declare(strict_types=1);

class_exists(Toporia\Realtime\Toporia\DropIn::REPLACED);
