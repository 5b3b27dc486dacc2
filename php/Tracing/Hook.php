<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use Closure;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * Called by the extension around sending and handling; contains the failures of a tracer.
 *
 * @internal
 */
final class Hook
{
    /** True while the tracer knows of a record being sent. */
    private bool $sending = false;

    public function __construct(private Tracer $tracer)
    {
    }

    /**
     * @param array<string, string|null> $own trace headers set by the caller
     *
     * @return array<string, string> the headers to add
     */
    public function sending(
        string $topic,
        ?int $partition,
        string $id,
        ?string $key,
        ?int $size,
        array $own
    ): array {
        if ($this->sending) {
            $this->sent(null, null);
        }
        $headers = [];
        $this->safely(function () use ($topic, $partition, $id, $key, $size, $own, &$headers): void {
            $set = array_filter($own, is_string(...));
            $headers = $this->tracer->sending(new Outgoing($topic, $partition, $id, $key, $size, $set));
            $this->sending = true;
        });

        return self::checked(self::withoutCallerHeaders($headers, $own));
    }

    public function sent(?string $class, ?string $reason): void
    {
        if ($this->sending) {
            $this->sending = false;
            $this->safely(fn () => $this->tracer->sent($class, $reason));
        }
    }

    /** @param Message|list<Message> $messages */
    public function handling(Message|array $messages, string $group): void
    {
        $list = is_array($messages) ? $messages : [$messages];
        if ($list !== []) {
            $this->safely(fn () => $this->tracer->handling($list, is_array($messages), $group));
        }
    }

    public function handled(?Throwable $why): void
    {
        $this->safely(fn () => $this->tracer->handled($why));
    }

    /**
     * The current trace context.
     *
     * @return array<string, string>
     */
    public function headers(): array
    {
        $headers = [];
        $this->safely(function () use (&$headers): void {
            $headers = $this->tracer->headers();
        });

        return self::checked($headers);
    }

    /**
     * Removes headers that the caller has set; tracestate is removed together with traceparent.
     *
     * @param array<mixed> $headers
     * @param array<string, mixed> $own
     *
     * @return array<mixed>
     */
    public static function withoutCallerHeaders(array $headers, array $own): array
    {
        if (isset($own[W3c::TRACE_PARENT])) {
            unset($headers[W3c::TRACE_PARENT], $headers[W3c::TRACE_STATE]);
        }

        return array_diff_key($headers, $own);
    }

    /**
     * @param array<mixed> $headers
     *
     * @return array<string, string>
     */
    private static function checked(array $headers): array
    {
        [$valid, $refused] = W3c::filter($headers);
        foreach ($refused as $name) {
            $name = preg_replace('/[^\x20-\x7e]/', '?', substr($name, 0, 80));
            Realtime::log('warning', "The tracer's header \"$name\" is not sent: its value is not valid (W3C).");
        }

        return $valid;
    }

    private function safely(Closure $call): void
    {
        try {
            $call();
        } catch (Throwable $e) {
            Realtime::log('warning', sprintf(
                'The tracer threw %s: %s (%s:%d). The message is processed without it.',
                $e::class,
                $e->getMessage(),
                $e->getFile(),
                $e->getLine()
            ));
        }
    }
}
