<?php

/**
 * Common setup of the benchmark's clients: classes, and visible errors.
 */

declare(strict_types=1);

require_once __DIR__ . '/../src/Meter.php';
require_once __DIR__ . '/../src/Load.php';

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');
