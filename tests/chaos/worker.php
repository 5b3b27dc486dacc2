<?php

/**
 * One worker of a run: records each number it begins and each it has handled, and forwards it; misbehaves as
 * configured.
 *
 * php worker.php JOB(json) NOTES(file) record|batch
 */

declare(strict_types=1);

use Toporia\Realtime\Broker;
use Toporia\Realtime\Chaos\Behaviour;
use Toporia\Realtime\Chaos\Job;
use Toporia\Realtime\Chaos\Settings;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;

require __DIR__ . '/src/autoload.php';

[, $json, $file, $style] = $argv;
$job = Job::fromJson($json);
$behaviour = $job->behaviour();
// Unbuffered: each note is in the file, even if the process is killed next.
$notes = fopen($file, 'ab') ?: exit(70);
$note = static function (string $line) use ($notes): void {
    fwrite($notes, "$line\n");
};
$exhaust = static function (): never {
    $hoard = [];
    while (true) {
        $hoard[] = str_repeat('x', 1 << 20);
    }
};

$broker = new Broker($job->consumer());
$handle = static function (Message $message) use ($job, $behaviour, $broker, $note, $exhaust): void {
    $number = (int) $message->getData();
    $attempt = $message->getAttempt();
    $what = $behaviour->of($number);
    $note("B $number $attempt");
    match ($what) {
        Behaviour::SLOW => usleep($number % 100 * 1000),
        Behaviour::OVERSLEEP => $attempt === 1 && !file_exists("$job->directory/slept-$number")
            && touch("$job->directory/slept-$number") && usleep((Settings::POLL_INTERVAL_MS + 2000) * 1000),
        Behaviour::TRANSIENT => $attempt > 1 + $number % 2 || throw new RuntimeException("$number is not ready"),
        Behaviour::THROW => throw new RuntimeException("$number never works"),
        Behaviour::PERMANENT => throw new PermanentException("$number is wrong"),
        Behaviour::EXIT => exit(Behaviour::EXIT_CODE),
        Behaviour::EXIT_ONCE => $attempt > 1 || exit(Behaviour::EXIT_CODE),
        Behaviour::MEMORY => $exhaust(),
        Behaviour::MEMORY_ONCE => $attempt > 1 || $exhaust(),
        default => null,
    };
    $broker->send($job->output(), (string) $number, $message->getKey());
    if ($what === Behaviour::THROW_LATE) {
        throw new RuntimeException("$number fails late");
    }
    $note("H $number");
};
if ($style === 'batch') {
    $broker->subscribeBatch(Job::BATCH_CHANNEL, static function (array $messages) use ($handle): void {
        foreach ($messages as $index => $message) {
            try {
                $handle($message);
            } catch (Throwable $error) {
                throw new BatchException($index, $error);
            }
        }
    });
} else {
    $broker->subscribe(Job::BATCH_CHANNEL, $handle);
}
$broker->subscribe(Job::SINGLE_CHANNEL, $handle);
$broker->subscribeTopic($job->raw(), $handle);
$broker->onAssigned(static fn (array $partitions) => $note('A ' . count($partitions)));
$residentKb = static fn (): int => (int) explode(' ', (string) file_get_contents('/proc/self/statm'))[1] * 4;
$broker->onTick(static fn () => $note('R ' . $residentKb()), 1000);
$note('S ' . getmypid());
$handled = $broker->consume(timeoutMs: 500, batchSize: 50);
$stats = $broker->stats();
unset($stats['assigned']);
$note('E ' . $handled . ' ' . json_encode($stats));
