<?php

/**
 * An embedded broker in a process of its own, so that its time is not attributed to a client: prints its address, runs
 * until its input ends. Arguments: topics with their partitions, as topic:partitions; latency:ms for late answers.
 */

declare(strict_types=1);

use Toporia\Realtime\EmbeddedBroker;

$broker = EmbeddedBroker::start();
foreach (array_slice($argv, 1) as $topic) {
    [$name, $partitions] = explode(':', $topic);
    $name === 'latency' ? $broker->setLatency((int) $partitions) : $broker->createTopic($name, (int) $partitions);
}
echo $broker->address(), "\n";
fgets(STDIN);
$broker->stop();
