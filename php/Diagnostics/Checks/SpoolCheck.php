<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\SpoolDirectory;
use Toporia\Realtime\Diagnostics\SpoolState;
use Toporia\Realtime\Worker\Text;

/** Checks the messages in the spool, and its remaining capacity. */
final class SpoolCheck extends Check
{
    public const NAME = 'spool';
    public const TITLE = 'Spool';
    public const NEEDS = ['configuration'];
    /** Maximum age in seconds of messages in a file that no running process holds. */
    private const MAX_WAIT_SECONDS = 600;

    public function run(Context $context): iterable
    {
        $directory = $context->settings['spool'];
        if ($directory === null) {
            // If it is not set, ConfigurationCheck reports it.
            if (preg_grep('/\Aspool is not set/', $context->settings['advice']) === []) {
                yield Finding::ok('spool', 'off, as it is set');
            }

            return;
        }
        $facts = ['directory' => $directory];
        $unusable = $this->unusable($directory);
        if ($unusable !== null) {
            yield Finding::error(
                'spool',
                "$directory $unusable: messages that Kafka does not accept are lost",
                "mkdir -p $directory && chown www-data $directory (the user that runs PHP), or set spool "
                    . "(REALTIME_SPOOL) to a directory it can write to",
                $facts
            );
        }
        if (!is_dir($directory)) {
            if ($unusable === null) {
                yield Finding::ok('spool', "$directory is created when the first message needs it", $facts);
            }

            return;
        }
        $state = new SpoolState($directory);
        yield from $this->contents($context, $state);
        yield from $this->disk($context, $state);
    }

    /** @return iterable<Finding> */
    private function contents(Context $context, SpoolState $state): iterable
    {
        $facts = ['messages' => $state->messages, 'bytes' => $state->bytes, 'oldest_seconds' => $state->age(),
            'failed' => $state->failed, 'damaged' => $state->damaged];
        if ($state->unreadable !== []) {
            yield Finding::warning(
                'spool',
                'the contents of ' . implode(', ', $state->unreadable) . ' cannot be seen by this user',
                'Run the doctor as the user that runs PHP (sudo -u www-data …), or as root.'
            );
        }
        if ($state->failed > 0) {
            yield Finding::error(
                'spool',
                Text::count($state->failed, 'message') . ' can never be sent',
                "Read the reasons in {$state->failedDirectory}/*.jsonl; " . 'send the messages again that are needed '
                    . '(realtime:kafka:publish), then delete the files.',
                $facts
            );
        }
        if ($state->damaged > 0) {
            yield Finding::warning(
                'spool',
                Text::count($state->damaged, 'damaged file') . ' moved aside',
                "Read the notes in {$state->damagedDirectory}: was " . 'the disk full, or did the machine lose power? '
                    . 'Delete them if they are no longer needed.',
                $facts
            );
        }
        if ($state->messages === 0) {
            if ($state->unreadable === []) {
                yield Finding::ok('spool', "$state->directory is empty", $facts);
            }

            return;
        }
        $cluster = $context->cluster?->cluster;
        foreach ($state->directories as $one) {
            if ($one->messages > 0) {
                yield $one->isSentBy($context->settings, $cluster) ? $this->own($context, $one, $facts) : $this->orphan($one);
            }
        }
    }

    /** @param array<string, mixed> $facts */
    private function own(Context $context, SpoolDirectory $directory, array $facts): Finding
    {
        $text = self::waiting($directory);
        if (($directory->unheldAge() ?? 0) < self::MAX_WAIT_SECONDS) {
            return Finding::ok('spool', "$text; they are sent by the next process that can reach Kafka", $facts);
        }

        return Finding::warning(
            'spool',
            $text,
            $context->blocked('brokers') !== null
            ? 'Fix the connection to Kafka first; then they are sent by the next process that broadcasts.'
            : 'No process of the same cluster, prefix and application has sent anything since: '
                . 'realtime:kafka:publish with the application\'s configuration sends them.',
            $facts
        );
    }

    /** Messages that no process with this configuration sends: brokers, topic_prefix or application were changed. */
    private function orphan(SpoolDirectory $directory): Finding
    {
        return Finding::warning(
            'spool',
            self::waiting($directory) . ', and this configuration does not send them: they are for '
                . $directory->owner(),
            'If another application uses this spool, it sends them. If brokers, topic_prefix or application were '
                . 'changed and they belong to this cluster: realtime:spool --adopt=' . basename($directory->path),
            ['directory' => $directory->path, 'messages' => $directory->messages,
                'oldest_seconds' => $directory->age()]
        );
    }

    private static function waiting(SpoolDirectory $directory): string
    {
        return Text::count($directory->messages, 'message') . ' wait' . ($directory->messages === 1 ? 's' : '') . ' in '
            . $directory->path . ', the oldest for ' . ($directory->age() ?? 0) . ' s';
    }

    /** @return iterable<Finding> */
    private function disk(Context $context, SpoolState $state): iterable
    {
        $max = $context->settings['spool_max_bytes'];
        if ($max > 0 && $state->bytes > $max * 0.8) {
            yield Finding::warning(
                'spool',
                sprintf('%s of %s are used: when it is full, messages are '
                    . 'rejected', Text::bytes($state->bytes), Text::bytes($max)),
                'Fix the connection to Kafka, or raise spool_max_bytes.'
            );
        }
        $free = @disk_free_space($state->directory);
        if ($free === false) {
            return;
        }
        $facts = ['free_bytes' => (int) $free];
        if ($free < 16 << 20) {
            yield Finding::error(
                'disk of the spool',
                'is full: ' . Text::bytes((int) $free) . ' free',
                "`df -h $state->directory`; free disk space, or put " . 'spool (REALTIME_SPOOL) on another disk.',
                $facts
            );
        } elseif ($free < $max) {
            yield Finding::warning(
                'disk of the spool',
                Text::bytes((int) $free) . ' free, less than spool_max_bytes (' . Text::bytes($max) . ')',
                "`df -h $state->directory`; free disk space, or lower spool_max_bytes.",
                $facts
            );
        }
    }

    /** The reason why the directory cannot be written; null if it can. */
    private function unusable(string $directory): ?string
    {
        $place = $directory;
        while (!file_exists($place) && $place !== dirname($place)) {
            $place = dirname($place);
        }
        $user = function_exists('posix_geteuid') ? (posix_getpwuid(posix_geteuid())['name'] ?? 'this user') : 'this user';
        if (!is_dir($place)) {
            return $place === $directory ? 'is not a directory' : "cannot be created: $place is not a directory";
        }
        if (!is_writable($place)) {
            return $place === $directory ? "cannot be written by $user" : "cannot be created: $user may not write $place";
        }

        return null;
    }
}
