<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use JsonException;
use Toporia\Realtime\Exception\EncodingException;

/**
 * The JSON envelope of a message in PHP: replaces the native implementation when the extension is not loaded.
 * `{"id","type","channel","event","data","timestamp"}` in this order, without null values.
 *
 * Data is kept as JSON and decoded on first use. A parsed envelope keeps its original bytes.
 */
final class Envelope
{
    public const TYPES = ['event', 'subscribe', 'unsubscribe', 'error', 'ping', 'pong'];

    private const DEPTH = 512;

    private mixed $decoded = null;
    private bool $isDecoded = false;

    private function __construct(
        public readonly string $id,
        public readonly string $type,
        public readonly ?string $channel,
        public readonly ?string $event,
        private readonly ?string $data,
        public readonly int $timestamp,
        private ?string $json = null
    ) {
    }

    /**
     * Creates an event with a new id and the current time.
     *
     * @throws EncodingException data that cannot be encoded as JSON, or an event that is not UTF-8
     */
    public static function create(?string $channel, string $event, mixed $data): self
    {
        Arguments::event($event);

        return new self(Uuid::v7(), 'event', $channel, $event, self::encode($data), time());
    }

    /**
     * Parses an envelope; its data is not decoded until needed.
     *
     * @throws EncodingException not a JSON object, or a key of the wrong type
     */
    public static function parse(string $json): self
    {
        try {
            if (preg_match('//u', $json) !== 1) {
                throw new JsonException('it is not valid UTF-8');
            }
            $members = EnvelopeScanner::members($json);
            $data = $members['data'] ?? null;
            if ($data !== null && !in_array($data[0], ['[', '{'], true)) {
                json_decode($data, false, self::DEPTH, JSON_THROW_ON_ERROR);
            }
            unset($members['data']);
            $fields = [];
            foreach (['id', 'type', 'channel', 'event', 'timestamp'] as $key) {
                $fields[$key] = isset($members[$key])
                    ? json_decode($members[$key], true, self::DEPTH, JSON_THROW_ON_ERROR)
                    : null;
            }
        } catch (JsonException $e) {
            throw new EncodingException(
                'This is not a message envelope: ' . $e->getMessage() . '. Expected a JSON object such as '
                . '{"id":"…","type":"event","channel":"user.1","event":"order.created","timestamp":1763700000}; '
                . 'got ' . self::excerpt($json),
                0,
                $e
            );
        }

        return self::of($fields, $data === 'null' ? null : $data, $json);
    }

    /**
     * Creates an envelope from an array with its keys.
     *
     * @param array<string, mixed> $fields
     *
     * @throws EncodingException a key of the wrong type, or data that cannot be encoded
     */
    public static function fromArray(array $fields): self
    {
        return self::of($fields, self::encode($fields['data'] ?? null), null);
    }

    /**
     * The data, decoded like json_decode(…, true).
     *
     * @throws EncodingException it cannot be decoded
     */
    public function data(): mixed
    {
        if (!$this->isDecoded && $this->data !== null) {
            $this->decoded = $this->decode($this->data);
        }
        $this->isDecoded = true;

        return $this->decoded;
    }

    /** The envelope as JSON: the original bytes if it was parsed, else built once. */
    public function json(): string
    {
        if ($this->json !== null) {
            return $this->json;
        }
        $members = [];
        foreach ($this->head() as $key => $value) {
            $members[] = "\"$key\":" . self::encode($value);
        }
        if ($this->data !== null) {
            $members[] = '"data":' . $this->data;
        }
        $members[] = '"timestamp":' . $this->timestamp;

        return $this->json = '{' . implode(',', $members) . '}';
    }

    /**
     * The envelope as an array, with decoded data.
     *
     * @return array<string, mixed>
     *
     * @throws EncodingException the data cannot be decoded
     */
    public function toArray(): array
    {
        $array = $this->head();
        $data = $this->data();
        if ($data !== null) {
            $array['data'] = $data;
        }
        $array['timestamp'] = $this->timestamp;

        return $array;
    }

    /** @param array<string, mixed> $fields */
    private static function of(array $fields, ?string $data, ?string $json): self
    {
        $type = self::text($fields, 'type', $json === null) ?? 'event';
        if (!in_array($type, self::TYPES, true)) {
            throw new EncodingException(
                "The envelope's type is '$type'; it is one of " . implode(', ', self::TYPES) . '.'
            );
        }
        $timestamp = $fields['timestamp'] ?? time();
        // In JSON other producers may write the number as text.
        if ($json !== null && is_string($timestamp) && is_numeric($timestamp) && trim($timestamp) === $timestamp) {
            $timestamp += 0;
        }
        if (!is_int($timestamp) && !(is_float($timestamp) && abs($timestamp) < 9.2e18)) {
            throw new EncodingException(
                "The envelope's timestamp is a " . get_debug_type($timestamp) . '; it is a number of Unix seconds.'
            );
        }
        $id = self::text($fields, 'id', $json === null) ?? '';

        return new self(
            $id === '' ? Uuid::v7() : $id,
            $type,
            self::text($fields, 'channel', $json === null),
            self::text($fields, 'event', $json === null),
            $data,
            (int) $timestamp,
            $id === '' || !isset($fields['timestamp']) ? null : $json
        );
    }

    /** @param array<string, mixed> $fields */
    private static function text(array $fields, string $key, bool $convert): ?string
    {
        $value = $fields[$key] ?? null;
        if ($convert && (is_scalar($value) || $value instanceof \Stringable)) {
            $value = (string) $value;
        }
        if ($value !== null && (!is_string($value) || preg_match('//u', $value) !== 1)) {
            throw new EncodingException(
                "The envelope's $key is a " . get_debug_type($value) . '; it is a string of valid UTF-8.'
            );
        }

        return $value;
    }

    private static function encode(mixed $data): ?string
    {
        if ($data === null) {
            return null;
        }
        try {
            return json_encode($data, JSON_THROW_ON_ERROR, self::DEPTH);
        } catch (JsonException $e) {
            throw new EncodingException(
                'Cannot encode data of type ' . get_debug_type($data) . ' as JSON: ' . $e->getMessage()
                . '. Nothing was sent.',
                0,
                $e
            );
        }
    }

    private function decode(string $data): mixed
    {
        try {
            return json_decode($data, true, self::DEPTH, JSON_THROW_ON_ERROR);
        } catch (JsonException $e) {
            throw new EncodingException(
                "The data of message $this->id cannot be decoded: " . $e->getMessage() . '. It begins with '
                . self::excerpt($data),
                0,
                $e
            );
        }
    }

    /** @return array<string, string> */
    private function head(): array
    {
        return array_filter(
            ['id' => $this->id, 'type' => $this->type, 'channel' => $this->channel, 'event' => $this->event],
            static fn (?string $value): bool => $value !== null
        );
    }

    /** The beginning of a text, quoted and escaped, for messages. */
    public static function excerpt(string $text): string
    {
        $cut = strlen($text) > 80 ? substr($text, 0, 80) . '…' : $text;

        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;

        return (string) json_encode($cut, $flags);
    }
}
