<?php

/**
 * The broker for Toporia's newer generation, whose commands query health and metrics.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Framework\Realtime\Contracts\HealthCheckableInterface;
use Toporia\Framework\Realtime\Contracts\HealthCheckResult;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Realtime;

/**
 * Supports realtime:health, broker:metrics and other callers of the framework broker's methods.
 */
final class HealthCheckableKafkaBroker extends KafkaBroker implements HealthCheckableInterface
{
    /**
     * Requests metadata from Kafka.
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
     * `native`: there is one mode, without the framework's queues.
     */
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

    /**
     * Does nothing: there is no queue in PHP to flush.
     */
    public function flushAsyncQueue(bool $force = false): int
    {
        return 0;
    }

    /**
     * Producer and consumer statistics as JSON.
     */
    public function getJsonMetrics(): string
    {
        return (string) json_encode($this->metrics(), JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES);
    }

    /**
     * Producer and consumer statistics in Prometheus' text format.
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
