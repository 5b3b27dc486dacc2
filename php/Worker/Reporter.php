<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use stdClass;
use Throwable;
use Toporia\Realtime\Message;

/**
 * Reports the progress of a long-running command: as text, with a status line on a terminal and one line per interval
 * elsewhere; or as JSON, one object per line, each with `type` and `time` (ISO 8601), the last of which is the `summary`.
 */
class Reporter
{
    private float $every;
    private float $lastProgress = 0.0;

    /** @param float|null $every seconds between two progress lines; null: 5 for JSON, 1 on a terminal, else 10 */
    public function __construct(private Terminal $out, private bool $json = false, ?float $every = null)
    {
        $this->every = $every ?? match (true) {
            $json => 5.0,
            $out->isInteractive() => 1.0,
            default => 10.0,
        };
    }

    /**
     * An event worth its own line: partitions assigned, waiting for a topic, Kafka lost or back.
     *
     * @param string $type machine-readable name: `assigned`
     * @param string $text readable text
     * @param array<string, mixed> $facts machine-readable details
     */
    public function event(string $type, string $text, array $facts = []): void
    {
        $this->write($type, [date('H:i:s') . '  ' . Text::printable($text)], ['text' => $text] + $facts);
    }

    /** Called before a handler runs, so that its own output does not follow a status line. */
    public function beforeHandler(): void
    {
        if (!$this->json && $this->out->isInteractive()) {
            $this->out->status('');
        }
    }

    /** Prints a message, when no handler is configured. */
    public function message(Message $message): void
    {
        // Decoded from the original bytes, so that an empty object stays an object.
        $envelope = json_decode($message->toJson(), false, Text::DEPTH);
        $broken = json_last_error_msg();
        if ($this->json) {
            $this->write('message', [], [
                'topic' => $message->getTopic(),
                'partition' => $message->getPartition(),
                'offset' => $message->getOffset(),
                'key' => $message->getKey(),
                'headers' => (object) $message->getHeaders(),
                'message' => $envelope ?? ['id' => $message->getId(), 'broken' => $broken],
            ]);

            return;
        }
        $text = match (true) {
            !$envelope instanceof stdClass => "(broken data: $broken)",
            isset($envelope->data) => (string) json_encode(
                $envelope->data,
                JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES,
                Text::DEPTH
            ),
            default => '',
        };
        $this->out->line(rtrim(sprintf(
            '%s  %s  %s  %s',
            date('H:i:s'),
            Text::printable($message->getChannel() ?? $message->getTopic() ?? ''),
            Text::printable($message->getEvent() ?? $message->getType()),
            // The JSON is already escaped, except DEL and the C1 control characters.
            preg_replace('/[\x7f]|\xc2[\x80-\x9f]/', '?', $text)
        )));
    }

    /** Why a command has stopped, as the beginning of its summary. */
    public static function stopped(string $reason): string
    {
        return 'Stopped ' . match ($reason) {
            'signal' => 'by a signal',
            'restart' => 'by realtime:restart',
            'stopped' => 'by stopConsuming()',
            'error' => 'by an error',
            default => 'at --' . strtr($reason, '_', '-'),
        };
    }

    /** Reports the failure that ended the command. */
    public function failure(Throwable $e): void
    {
        $this->write('error', [
            date('H:i:s') . '  FAILED: ' . $e::class . ': ' . Text::printable($e->getMessage()),
            '          thrown in ' . $e->getFile() . ' line ' . $e->getLine(),
        ], ['class' => $e::class, 'message' => $e->getMessage(), 'file' => $e->getFile() . ':' . $e->getLine()]);
    }

    /**
     * True once per interval: progress is reported several times per second.
     *
     * @param float $seconds since the start
     */
    protected function isProgressDue(float $seconds): bool
    {
        if ($seconds - $this->lastProgress < $this->every) {
            return false;
        }
        $this->lastProgress = $seconds;

        return true;
    }

    /** @param array<string, mixed> $facts */
    protected function writeProgress(string $line, array $facts): void
    {
        if (!$this->json && $this->out->isInteractive()) {
            $this->out->status($line);
        } else {
            $this->write('progress', [date('H:i:s') . "  $line"], $facts);
        }
    }

    /** @param array<string, mixed> $facts */
    protected function writeSummary(string $line, array $facts): void
    {
        // Remove the status line: it would look as if the command were still running.
        $this->out->status('');
        $this->write('summary', [$line], $facts);
    }

    /**
     * @param list<string> $lines
     * @param array<string, mixed> $facts
     */
    protected function write(string $type, array $lines, array $facts): void
    {
        $lines = $this->json ? [Text::json(['type' => $type, 'time' => date(DATE_ATOM)] + $facts)] : $lines;
        array_map($this->out->line(...), $lines);
    }
}
