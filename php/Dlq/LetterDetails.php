<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/** Shows one letter in full, as text or as JSON. Location and reason of the failure, headers, payload. */
final class LetterDetails
{
    public function __construct(private Letter $letter, private ?int $replayedAt)
    {
    }

    /**
     * @param int $now Unix seconds
     *
     * @return list<string>
     */
    public function lines(int $now): array
    {
        $letter = $this->letter;
        $record = $letter->record;
        $failed = self::time($letter->failedAt, $now);
        $attempts = $letter->attempts;
        $failed .= $attempts === null ? '' : ', after ' . Text::count($attempts, 'attempt');
        $rows = [
            'Letter' => (string) $letter->letterId(),
            'Id' => $letter->messageId(),
            'Event' => $letter->event() === null ? '-' : $letter->event() . ' on ' . ($letter->channel() ?? '-'),
            'Failed' => $failed,
            'Group' => $letter->group ?? '-',
            'Class' => $letter->exceptionClass ?? '-',
            'Message' => $letter->reason ?? '-',
            ...self::chain($letter->exceptionChain()),
            'Original' => $this->original($now),
            'Replays' => self::replays($letter->replays),
            'Replayed' => $this->replayedAt === null ? 'no' : self::time($this->replayedAt, $now),
            'Key' => $record->key ?? '(none)',
        ];
        $lines = [];
        foreach ($rows as $name => $value) {
            $lines[] = str_pad($name, 10) . Text::printable($value);
        }
        $lines[] = 'Headers' . ($record->headers === [] ? '   (none)' : '');
        foreach ($record->headers as $name => $values) {
            foreach (is_array($values) ? $values : [$values] as $value) {
                $lines[] = '  ' . Text::printable((string) $name) . ': ' . Text::printable($value ?? '(no value)');
            }
        }

        return [...$lines, ...$this->payload()];
    }

    /**
     * @return array<string, mixed> Letter::toArray() with the exception chain, key, headers and payload; values that
     *                              are not UTF-8 are in base64
     */
    public function toArray(): array
    {
        $record = $this->letter->record;
        $headers = [];
        foreach (array_map('strval', array_keys($record->headers)) as $name) {
            $headers += self::text($name, $record->header($name));
        }

        return $this->letter->toArray($this->replayedAt) + ['chain' => $this->letter->exceptionChain()]
            + self::text('key', $record->key) + ['headers' => (object) $headers] + self::text('payload', $record->value);
    }

    /**
     * The exceptions, each on a line of its own: the first one as thrown, then what caused it.
     *
     * @param list<string> $chain
     *
     * @return array<string, string> by row name; the names of further rows are blank
     */
    private static function chain(array $chain): array
    {
        $rows = [];
        foreach ($chain as $depth => $exception) {
            $rows[$depth === 0 ? 'Thrown' : str_repeat(' ', $depth)] = ($depth === 0 ? '' : 'caused by ') . $exception;
        }

        return $rows;
    }

    /** @return list<string> */
    private function payload(): array
    {
        $payload = $this->letter->record->value;
        if ($payload === null) {
            $bytes = $this->letter->omittedBytes();

            return ['Payload   ' . ($bytes === null ? '(none: a tombstone)' : '(omitted: its '
                . Text::count($bytes, 'byte') . ' were too large; a replay fetches the original record if Kafka '
                . 'still has it)')];
        }
        $lines = JsonFormatter::lines($payload) ?? explode("\n", $payload);

        return [
            'Payload   ' . Text::count(strlen($payload), 'byte'),
            ...array_map(static fn (string $line): string => '  ' . Text::printable($line), $lines),
        ];
    }

    private function original(int $now): string
    {
        $letter = $this->letter;
        $place = $letter->originalTopic;
        if ($letter->originalPartition !== null && $letter->originalOffset !== null) {
            $place .= "/{$letter->originalPartition}/{$letter->originalOffset}";
        }
        $ms = $letter->originalTimestampMs;

        return $ms === null ? $place : "$place, sent " . self::time(intdiv($ms, 1000), $now);
    }

    private static function replays(int $replays): string
    {
        return $replays === 0 ? 'none before this failure' : Text::count($replays, 'time') . ' before this failure';
    }

    private static function time(int $time, int $now): string
    {
        return gmdate('Y-m-d\TH:i:s\Z', $time) . ' (' . Text::age($time, $now) . ' ago)';
    }

    /** @return array<string, string|null> */
    private static function text(string $name, ?string $value): array
    {
        return $value === null || preg_match('//u', $value) === 1
            ? [$name => $value]
            : ["{$name}_base64" => base64_encode($value)];
    }
}
