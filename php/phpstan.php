<?php

/** Bootstrap file for PHPStan: aliases our broker to the framework's class name used by application code. */

declare(strict_types=1);

class_exists(Toporia\Realtime\Toporia\DropIn::REPLACED);
