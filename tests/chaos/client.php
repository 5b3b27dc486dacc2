<?php

/**
 * Sends requests to a PHP-FPM and prints each returned message id, until a stop file exists.
 *
 * php client.php DIRECTORY
 */

declare(strict_types=1);

use Toporia\Realtime\Tests\Producing\FpmServer;

require __DIR__ . '/src/autoload.php';

while (!file_exists("$argv[1]/stop")) {
    $answer = FpmServer::ask("$argv[1]/fpm.sock", "$argv[1]/index.php", '');
    if ($answer !== null && strlen($answer[0]) === 36) {
        echo $answer[0], "\n";
    }
    usleep(2000);
    clearstatcache();
}
