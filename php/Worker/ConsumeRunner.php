<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Throwable;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;

/**
 * Runs a consumer in any host, from subscribing to the summary. Signals, offsets and retries are handled by the
 * extension; this class decides when to stop and reports progress.
 */
final class ConsumeRunner
{
    /** Interval of the stop conditions and of progress reports, in ms. */
    private const TICK_MS = 200;

    private StateWatch $state;
    private float $start = 0.0;

    /**
     * @param (Closure(Message, Throwable, ?int): void)|null $failed called after each failed attempt, see
     *        Broker::onFailed()
     */
    public function __construct(
        private Broker $broker,
        private ConsumeOptions $options,
        private HandlerResolver $handlers,
        private StopConditions $stop,
        private ConsumeReporter $reporter,
        private ?GatewayLifecycle $gateway = null,
        private ?Closure $failed = null
    ) {
        $this->state = new StateWatch($reporter);
    }

    /**
     * @return int the exit code
     *
     * @throws UsageError an invalid channel or handler; nothing has connected yet
     */
    public function run(): int
    {
        $handler = $this->handlers->resolve($this->options->handler, $this->reporter);
        $this->subscribe($handler);
        $this->reporter->start(
            $this->options,
            (string) ($this->broker->stats()['group'] ?? ''),
            $this->handlers->describe($this->options->handler)
        );
        $this->watch();
        $this->gateway?->start();

        return $this->consume();
    }

    private function subscribe(callable $handler): void
    {
        $handle = function (Message $message) use ($handler): void {
            $this->reporter->beforeHandler();
            $handler($message);
        };
        foreach ($this->options->channels as $channel) {
            try {
                $this->broker->subscribe($channel, $handle);
            } catch (InvalidChannelException $e) {
                throw new UsageError('--channels: ' . $e->getMessage(), 0, $e);
            }
        }
    }

    private function watch(): void
    {
        $this->start = hrtime(true) / 1e9;
        $similar = new SimilarChannelWarning($this->options->channels, $this->similarChannels(...), $this->reporter);
        $seek = new SeekOnce($this->options->from, $this->reporter);
        $this->broker->onAssigned(function (array $partitions) use ($seek): void {
            $this->reporter->event('assigned', 'assigned: ' . Text::partitions($partitions), [
                'partitions' => $partitions,
            ]);
            $seek->apply($this->broker, $partitions);
        });
        $this->broker->onRevoked(function (array $partitions): void {
            $lost = in_array(true, array_column($partitions, 'lost'), true);
            $this->reporter->event('revoked', ($lost ? 'lost: ' : 'given up: ') . Text::partitions($partitions), [
                'partitions' => $partitions,
            ]);
        });
        $this->broker->onFailed(function (
            Message $message,
            Throwable $why,
            ?int $retryInMs,
            bool $isTransient = false
        ): void {
            if ($isTransient) {
                $this->handlers->renew();
            }
            if ($this->failed !== null) {
                ($this->failed)($message, $why, $retryInMs);
            }
            if ($retryInMs === null) {
                $this->handlers->failed($message, $why);
            }
        });
        $this->broker->onTick(function (Broker $broker) use ($similar, $seek): void {
            $now = $this->snapshot($broker->stats());
            if ($now->openCircuits !== []) {
                $this->handlers->renew();
            }
            $seek->addMissingTopics($now->waitingFor);
            $this->state->update($now);
            $similar->check($now);
            $this->reporter->progress($now);
            $this->gateway?->reportProgress();
            if ($this->stop->reason() !== null) {
                $broker->stopConsuming();
            }
        }, self::TICK_MS);
    }

    /** @param array<string, mixed> $stats */
    private function snapshot(array $stats): Snapshot
    {
        return Snapshot::of($stats, hrtime(true) / 1e9 - $this->start);
    }

    /**
     * Channels with traffic whose names differ only by Laravel's prefix.
     *
     * @param list<string> $channels
     *
     * @return array<string, string>
     */
    private function similarChannels(array $channels): array
    {
        $stats = $this->broker->stats();
        $own = [...array_column($stats['assigned'] ?? [], 'topic'), ...($stats['waiting_for'] ?? [])];
        $admin = new Admin(['broker' => $this->options->broker]);
        try {
            return SimilarChannelWarning::find($admin, $channels, array_values(array_unique($own)));
        } finally {
            $admin->close();
        }
    }

    private function consume(): int
    {
        $start = hrtime(true);
        $failure = null;
        $handled = null;
        try {
            $handled = $this->broker->consume(
                $this->options->timeoutMs,
                $this->options->batchSize,
                $this->options->maxMessages,
                $this->options->stopWhenEmpty
            );
        } catch (Throwable $failure) {
            $this->reporter->failure($failure);
        }
        $stats = $this->broker->stats();
        $this->state->handlers($this->snapshot($stats));
        try {
            $this->broker->close();
        } catch (Throwable $e) {
            // Messages sent by the callbacks could not be delivered before exit: the run has failed.
            $failure ??= $e;
            $this->reporter->failure($e);
        }
        $this->gateway?->stop();
        $code = $failure === null ? 0 : 1;
        $this->reporter->summary(
            $handled ?? (int) ($stats['handled'] ?? 0),
            $this->handlers->unhandled,
            (hrtime(true) - $start) / 1e9,
            $failure === null ? $this->stop->met() ?? (string) ($stats['stop_reason'] ?? 'stopped') : 'error',
            $code,
            $stats
        );

        return $code;
    }
}
