<?php

/**
 * The broker for Toporia's newer generation, whose commands ask for its health and its numbers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Framework\Realtime\Contracts\HealthCheckableInterface;
use Toporia\Framework\Realtime\Contracts\HealthCheckResult;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Realtime;

/**
 * For realtime:health, broker:metrics and whoever calls what the framework's own broker has.
 */
final class HealthCheckableKafkaBroker extends KafkaBroker implements HealthCheckableInterface
{
    /**
     * Asks Kafka for its metadata.
     */
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
            'Kafka answers',
            ['topics' => $topics, 'queued' => $stats['queued'], 'spooled' => $stats['spooled']],
            (hrtime(true) - $start) / 1e6
        );
    }

    public function getHealthCheckName(): string
    {
        return 'kafka';
    }

    /**
     * `native`: there is one way, without the framework's queues.
     */
    public function getPublishMode(): string
    {
        return 'native';
    }

    /**
     * Waits until everything is acknowledged.
     *
     * @param int $timeoutMs longest wait, in ms
     *
     * @return int what is still waiting
     */
    public function drain(int $timeoutMs = 30000): int
    {
        return (int) $this->native()->publishBatch([], $timeoutMs)['failed'];
    }

    /**
     * There is no queue in PHP to flush.
     */
    public function flushAsyncQueue(bool $force = false): int
    {
        return 0;
    }

    /**
     * What was sent and consumed, as JSON.
     */
    public function getJsonMetrics(): string
    {
        return (string) json_encode($this->metrics(), JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES);
    }

    /**
     * The same in Prometheus' text format.
     */
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
