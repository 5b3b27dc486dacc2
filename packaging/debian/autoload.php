<?php

/**
 * Loads the PHP layer of toporia_realtime as this package has it: require 'Toporia/Realtime/autoload.php';
 */

declare(strict_types=1);

require_once __DIR__ . '/php/autoload.php';
