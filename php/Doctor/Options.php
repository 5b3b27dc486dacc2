<?php

/**
 * What realtime:doctor was asked for.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Support\Channel;
use Toporia\Realtime\Worker\ChannelList;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

final class Options
{
    /**
     * @param string|null $broker name in the configuration; null: the default one
     * @param string|null $group null: the configured one
     * @param list<string> $channels names and patterns that a worker consumes; empty: whatever there is
     * @param float $timeout seconds for each step on the way to a broker
     * @param bool $write whether a record may be sent there and back
     * @param bool $strict warnings count as errors for the exit code
     */
    public function __construct(
        public readonly ?string $broker = null,
        public readonly ?string $group = null,
        public readonly array $channels = [],
        public readonly float $timeout = 5.0,
        public readonly bool $write = false,
        public readonly bool $strict = false,
        public readonly bool $json = false
    ) {
    }

    /**
     * @param array<string, mixed> $options as the command line has them
     *
     * @throws UsageError a value that cannot be
     */
    public static function fromArray(array $options): self
    {
        $given = $options['channels'] ?? [];
        $channels = $given === [] ? [] : ChannelList::parse($given);
        foreach ($channels as $channel) {
            try {
                Channel::checkPattern($channel);
            } catch (InvalidChannelException $e) {
                throw new UsageError('--channels: ' . $e->getMessage(), 0, $e);
            }
        }

        return new self(
            OptionValue::text('--broker', $options['broker'] ?? null),
            OptionValue::text('--group', $options['group'] ?? null),
            $channels,
            OptionValue::int('--timeout', $options['timeout'] ?? 5000, 100, 60_000) / 1000,
            (bool) ($options['write'] ?? false),
            (bool) ($options['strict'] ?? false),
            (bool) ($options['json'] ?? false)
        );
    }
}
