<?php

/**
 * Asks a PHP-FPM again and again and prints each message id that it answers, until a file says stop.
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
