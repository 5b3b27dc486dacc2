<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use OpenTelemetry\API\Baggage\Baggage;
use OpenTelemetry\API\Globals;
use OpenTelemetry\API\Trace\Span;
use OpenTelemetry\API\Trace\SpanBuilderInterface;
use OpenTelemetry\API\Trace\SpanContextInterface;
use OpenTelemetry\API\Trace\SpanInterface;
use OpenTelemetry\API\Trace\SpanKind;
use OpenTelemetry\API\Trace\StatusCode;
use OpenTelemetry\Context\Context;
use OpenTelemetry\Context\ContextInterface;
use OpenTelemetry\Context\ScopeInterface;
use Throwable;
use Toporia\Realtime\Message;

/**
 * OpenTelemetry spans around sending and handling, with context propagation in record headers. Sending creates a
 * producer span whose context is sent with the record. Handling creates a consumer span that links to the context of
 * each record, and is active while the callback runs. Names follow the messaging conventions 1.38.
 */
final class OpenTelemetry implements Tracer
{
    private const NAME = 'toporia/realtime';
    private const SCHEMA = 'https://opentelemetry.io/schemas/1.38.0';
    /** Limits the links per span: they cost memory in every exporter, and OpenTelemetry's own limit is 128. */
    private const MAX_LINKS = 128;

    private ?SpanInterface $send = null;
    /** @var list<array{SpanInterface, ScopeInterface}> spans of the running callbacks, innermost last */
    private array $process = [];

    /**
     * @param bool $continue make the span of a single message a child of its sender's span, in one trace; otherwise
     *        both are linked, as the conventions specify
     */
    public function __construct(private bool $continue = false)
    {
    }

    public function headers(): array
    {
        return self::inject(Context::getCurrent());
    }

    public function sending(Outgoing $record): array
    {
        $builder = self::span("send $record->topic", SpanKind::KIND_PRODUCER, 'send', [
            'messaging.destination.name' => $record->topic,
            'messaging.destination.partition.id' => $record->partition === null ? null : (string) $record->partition,
            'messaging.message.id' => $record->id,
            'messaging.kafka.message.key' => self::text($record->key),
            'messaging.message.body.size' => $record->size,
            'messaging.kafka.message.tombstone' => $record->size === null ? true : null,
        ]);
        $created = isset($record->headers[W3c::TRACE_PARENT]) ? self::origin($record->headers) : null;
        if ($created !== null) {
            $builder->addLink($created);
        }
        $this->send = $builder->startSpan();

        return self::inject($this->send->storeInContext(Context::getCurrent()));
    }

    public function sent(?string $class, ?string $reason): void
    {
        [$span, $this->send] = [$this->send, null];
        if ($span !== null && $class !== null) {
            $span->setAttribute('error.type', $class)->setStatus(StatusCode::STATUS_ERROR, $reason);
        }
        $span?->end();
    }

    public function handling(array $messages, bool $isBatch, string $group): void
    {
        $first = $messages[0];
        $topic = $first->getTopic();
        $builder = self::span($topic === null ? 'process' : "process $topic", SpanKind::KIND_CONSUMER, 'process', [
            'messaging.destination.name' => $topic,
            'messaging.destination.partition.id' => $first->getPartition() === null ? null : (string) $first->getPartition(),
            'messaging.consumer.group.name' => $group === '' ? null : $group,
        ]);
        $parent = Context::getCurrent();
        if ($isBatch) {
            $builder->setAttribute('messaging.batch.message_count', count($messages));
        } else {
            $parent = $this->prepare($builder, $first, $parent);
        }
        foreach (array_slice($messages, 0, self::MAX_LINKS) as $message) {
            $created = self::origin(self::carrier($message));
            if ($created !== null) {
                $builder->addLink($created, $isBatch ? self::attributes($message) : []);
            }
        }
        $span = $builder->setParent($parent)->startSpan();
        $this->process[] = [$span, $span->storeInContext($parent)->activate()];
    }

    public function handled(?Throwable $why): void
    {
        $running = array_pop($this->process);
        if ($running === null) {
            return;
        }
        [$span, $scope] = $running;
        $scope->detach();
        if ($why !== null) {
            $span->recordException($why)
                ->setAttribute('error.type', $why::class)
                ->setStatus(StatusCode::STATUS_ERROR, $why->getMessage());
        }
        $span->end();
    }

    /** Adds the attributes of a single message, and returns the context to start the span in. */
    private function prepare(
        SpanBuilderInterface $builder,
        Message $message,
        ContextInterface $current
    ): ContextInterface {
        $payload = $message->getPayload();
        $builder->setAttributes(self::filled([
            'messaging.kafka.message.key' => self::text($message->getKey()),
            'messaging.message.body.size' => $payload === null ? null : strlen($payload),
            'messaging.kafka.message.tombstone' => $payload === null && $message->getTopic() !== null ? true : null,
        ] + self::attributes($message)));
        $sender = Globals::propagator()->extract(self::carrier($message), null, $current);

        // The sender's baggage applies in any case.
        return $this->continue ? $sender : Baggage::fromContext($sender)->storeInContext($current);
    }

    /** @return array<string, string|int> attributes that identify a message */
    private static function attributes(Message $message): array
    {
        $partition = $message->getPartition();

        return self::filled([
            'messaging.message.id' => $message->getId(),
            'messaging.destination.partition.id' => $partition === null ? null : (string) $partition,
            'messaging.kafka.offset' => $message->getOffset(),
        ]);
    }

    /**
     * @param 0|1|2|3|4 $kind
     * @param array<string, mixed> $attributes
     */
    private static function span(string $name, int $kind, string $operation, array $attributes): SpanBuilderInterface
    {
        return Globals::tracerProvider()->getTracer(self::NAME, null, self::SCHEMA)->spanBuilder($name)
            ->setSpanKind($kind)
            ->setAttributes(self::filled([
                'messaging.system' => 'kafka',
                'messaging.operation.name' => $operation,
                'messaging.operation.type' => $operation,
            ] + $attributes));
    }

    /**
     * The span that created a message.
     *
     * @param array<string, string> $headers
     */
    private static function origin(array $headers): ?SpanContextInterface
    {
        if ($headers === []) {
            return null;
        }
        $origin = Span::fromContext(Globals::propagator()->extract($headers, null, Context::getRoot()))->getContext();

        return $origin->isValid() ? $origin : null;
    }

    /**
     * The headers of a message for propagators, which may use others than W3C's.
     *
     * @return array<string, string>
     */
    private static function carrier(Message $message): array
    {
        $others = array_diff_key($message->getHeaders(), array_flip(W3c::HEADERS));

        return Tracing::context($message) + array_filter($others, is_string(...));
    }

    /** @return array<string, string> */
    private static function inject(ContextInterface $context): array
    {
        $headers = [];
        Globals::propagator()->inject($headers, null, $context);

        return $headers;
    }

    /** Binary keys cannot be represented in every exporter. */
    private static function text(?string $key): ?string
    {
        return $key !== null && preg_match('//u', $key) === 1 ? $key : null;
    }

    /**
     * @param array<string, mixed> $attributes
     *
     * @return array<string, mixed>
     */
    private static function filled(array $attributes): array
    {
        return array_filter($attributes, static fn (mixed $value): bool => $value !== null);
    }
}
