<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Framework\Realtime\Consumer\Contracts\BatchConsumerHandlerInterface;
use Toporia\Framework\Realtime\Contracts\HealthCheckableInterface;
use Toporia\Framework\Realtime\Contracts\HealthCheckResult;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Realtime;

/**
 * The broker for Toporia's newer generation, whose commands query health and metrics. Supports realtime:health,
 * broker:metrics and other callers of the framework broker's methods.
 */
final class HealthCheckableKafkaBroker extends KafkaBroker implements HealthCheckableInterface
{
    private ?BatchConsumerHandlerInterface $batchHandler = null;

    /** Requests metadata from Kafka. */
    public function healthCheck(): HealthCheckResult
    {
        $start = hrtime(true);
        try {
            $stats = Realtime::stats();
            $topics = count((new Admin($this->settings()))->topics());
        } catch (RealtimeException $e) {
            return HealthCheckResult::unhealthy($e->getMessage(), ['exception' => $e::class]);
        }

        return HealthCheckResult::healthy(
            'Kafka responds',
            ['topics' => $topics, 'queued' => $stats['queued'], 'spooled' => $stats['spooled']],
            (hrtime(true) - $start) / 1e6
        );
    }

    /**
     * Passes batches of the handler's channels to handleBatch(), until stopConsuming() or a signal.
     *
     * Messages that the handler reports as failed are retried and then become dead letters; the others are not handled
     * again. Offsets are always committed per batch.
     *
     * @param int $timeoutMs poll timeout, in ms
     *
     * @throws \Throwable the framework's BrokerException; with `dlq` off, the exception of the handler
     */
    public function consumeBatch(BatchConsumerHandlerInterface $handler, int $timeoutMs = 1000): void
    {
        $this->expectConnected();
        $looping = Framework::isCalledInLoop(debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 2));
        $batchSize = max(1, $handler->getBatchSize());
        try {
            if ($handler !== $this->batchHandler) {
                $callback = new BatchCallback($handler);
                foreach ($handler->getChannels() as $channel) {
                    $this->native()->subscribeBatch((string) $channel, $callback(...));
                }
                $this->batchHandler = $handler;
            }
            $looping ? $this->consumeOnce($timeoutMs, $batchSize) : $this->native()->consume($timeoutMs, $batchSize);
        } catch (RealtimeException $e) {
            throw Framework::exception('The kafka broker cannot consume', $e);
        }
    }

    public function setConsumerGroup(string $consumerGroup): void
    {
        parent::setConsumerGroup($consumerGroup);
        $this->batchHandler = null;
    }

    /** Always null: failed messages are handled by the extension and the realtime:dlq commands. */
    public function getDlq(): ?object
    {
        return null;
    }

    /** Always null: messages are queued by the extension, not in PHP. */
    public function getAsyncQueue(): ?object
    {
        return null;
    }

    /** Always null: messages are queued by the extension, not in APCu. */
    public function getSharedQueue(): ?object
    {
        return null;
    }

    /** Always null: the extension has one producer per process. */
    public function getProducerPool(): ?object
    {
        return null;
    }

    /** Always null: publish() and publishBatch() batch by themselves. */
    public function getBatchProducer(): ?object
    {
        return null;
    }

    public function getHealthCheckName(): string
    {
        return 'kafka';
    }

    /** `native`: there is one mode, without the framework's queues. */
    public function getPublishMode(): string
    {
        return 'native';
    }

    /**
     * Waits until all messages are acknowledged.
     *
     * @param int $timeoutMs maximum wait, in ms
     *
     * @return int number of messages still unacknowledged
     */
    public function drain(int $timeoutMs = 30000): int
    {
        return (int) $this->native()->publishBatch([], $timeoutMs)['failed'];
    }

    /** Does nothing: there is no queue in PHP to flush. */
    public function flushAsyncQueue(bool $force = false): int
    {
        return 0;
    }

    /** Producer and consumer statistics as JSON. */
    public function getJsonMetrics(): string
    {
        return (string) json_encode($this->metrics(), JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES);
    }

    /** Producer and consumer statistics in Prometheus' text format. */
    public function getPrometheusMetrics(): string
    {
        $text = '';
        foreach ($this->metrics() as $side => $numbers) {
            foreach ($numbers as $name => $value) {
                if (is_int($value) || is_float($value)) {
                    $text .= "toporia_realtime_{$side}_$name $value\n";
                }
            }
        }

        return $text;
    }

    /** @return array{producer: array<string, mixed>, consumer: array<string, mixed>} */
    private function metrics(): array
    {
        return ['producer' => Realtime::stats(), 'consumer' => $this->native()->stats()];
    }
}
