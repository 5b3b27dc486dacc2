<?php

/**
 * Loads the PHP layer of toporia_realtime from this package: require 'Toporia/Realtime/autoload.php';
 */

declare(strict_types=1);

require_once __DIR__ . '/php/autoload.php';
