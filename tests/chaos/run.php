<?php

/**
 * Runs the parts one after the other, each with its table; exit code 1 if a promise was broken: run.sh --help.
 */

declare(strict_types=1);

use Toporia\Realtime\Chaos\Cluster;
use Toporia\Realtime\Chaos\Fpm;
use Toporia\Realtime\Chaos\Memory;
use Toporia\Realtime\Chaos\Outage;
use Toporia\Realtime\Chaos\Run;
use Toporia\Realtime\Chaos\Settings;

require __DIR__ . '/src/autoload.php';

try {
    $settings = Settings::parse(array_slice($argv, 1));
} catch (InvalidArgumentException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(2);
}
$held = true;
foreach ($settings->parts as $part) {
    $directory = "$settings->directory/$part-$settings->seed";
    // The data of a broken promise is evidence: the next run with the same seed keeps it.
    is_file("$directory/broken") && rename($directory, "$directory-broken-" . filemtime("$directory/broken"));
    is_dir($directory) || mkdir($directory, 0777, true);
    foreach (['*', '*/*', '*/*/*'] as $level) {
        array_map('unlink', array_filter(glob("$directory/$level") ?: [], 'is_file'));
    }
    touch("$directory/broken");
    $cluster = new Cluster($settings->cluster, $directory);
    $run = match ($part) {
        'fpm' => new Fpm($settings, $cluster, $directory),
        'outage' => new Outage($settings, $cluster, $directory),
        'memory' => new Memory($settings, $cluster, $directory),
        default => new Run($settings, $part, $cluster, $directory),
    };
    if ($run->run()) {
        unlink("$directory/broken");
    } else {
        $held = false;
    }
}
exit($held ? 0 : 1);
