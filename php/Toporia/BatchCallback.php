<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use RuntimeException;
use Throwable;
use Toporia\Framework\Realtime\Consumer\Contracts\BatchConsumerHandlerInterface;
use Toporia\Framework\Realtime\Consumer\Contracts\ConsumerContext;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Message;

/**
 * Passes batches of the native broker to a batch handler of Toporia. The handler returns the indices of failed
 * messages, in any order; the native broker accepts the first failed message only and delivers the messages after it
 * again. Those that succeeded are remembered until then and not handled twice.
 */
final class BatchCallback
{
    private float $startedAt;
    /** @var array<string, true> positions of handled messages that are delivered again */
    private array $handled = [];

    public function __construct(private BatchConsumerHandlerInterface $handler)
    {
        $this->startedAt = microtime(true);
    }

    /**
     * @param list<Message> $messages
     *
     * @throws BatchException the first failed message
     */
    public function __invoke(array $messages): void
    {
        $pending = array_filter($messages, fn (Message $message): bool => !isset($this->handled[self::position($message)]));
        if ($pending !== []) {
            $this->handle($messages, array_keys($pending), array_values($pending));
        }
        foreach ($messages as $message) {
            unset($this->handled[self::position($message)]);
        }
    }

    /**
     * @param list<Message> $messages the whole batch
     * @param list<int> $indices of the pending messages in the batch
     * @param list<Message> $pending
     */
    private function handle(array $messages, array $indices, array $pending): void
    {
        $theirs = array_map(Framework::message(...), $pending);
        $context = new ConsumerContext(
            driver: 'kafka',
            handlerName: $this->handler->getName(),
            channel: (string) ($pending[0]->getTopic() ?? $pending[0]->getChannel()),
            processId: (int) getmypid(),
            startedAt: $this->startedAt
        );
        $start = hrtime(true);
        try {
            $failed = array_map('intval', $this->handler->handleBatch($theirs, $context));
        } catch (Throwable $e) {
            $this->report('onBatchFailed', [$theirs, array_keys($theirs), $e, $context]);
            throw new BatchException($indices[0], $e);
        }
        $failed = array_values(array_intersect(array_keys($pending), $failed));
        if ($failed === []) {
            $this->report('onBatchSuccess', [$theirs, $context, (hrtime(true) - $start) / 1e6]);

            return;
        }
        $why = new RuntimeException(
            "The batch handler {$this->handler->getName()} reported " . count($failed) . ' of ' . count($pending)
            . ' messages as failed.'
        );
        $this->report('onBatchFailed', [$theirs, $failed, $why, $context]);
        $first = $indices[$failed[0]];
        foreach ($messages as $index => $message) {
            unset($this->handled[self::position($message)]);
            $done = !in_array(array_search($index, $indices, true), $failed, true);
            if ($index > $first && $done) {
                $this->handled[self::position($message)] = true;
            }
        }
        throw new BatchException($first, $why);
    }

    /**
     * Calls an optional method of the handler.
     *
     * @param list<mixed> $arguments
     */
    private function report(string $method, array $arguments): void
    {
        if (is_callable([$this->handler, $method])) {
            $this->handler->$method(...$arguments);
        }
    }

    private static function position(Message $message): string
    {
        return "{$message->getTopic()}/{$message->getPartition()}/{$message->getOffset()}";
    }
}
