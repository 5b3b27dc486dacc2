<?php

/**
 * The newer generation's handler of batches, as far as the broker uses it.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Consumer\Contracts;

interface BatchConsumerHandlerInterface
{
    public function getName(): string;

    public function getChannels(): array;

    /** @return list<int> indices of the failed messages */
    public function handleBatch(array $messages, ConsumerContext $context): array;

    public function getBatchSize(): int;

    public function getBatchTimeout(): int;

    public function shouldCommitPerBatch(): bool;
}
