<?php

/**
 * What every client of the benchmark begins with: its classes, and errors where the one who runs it sees them.
 */

declare(strict_types=1);

require_once __DIR__ . '/../src/Meter.php';
require_once __DIR__ . '/../src/Load.php';

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');
