<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Support\Channel;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/** The validated options of realtime:doctor. */
final class DoctorOptions
{
    /**
     * @param string|null $broker name in the configuration; null: the default broker
     * @param string|null $group null: the configured group
     * @param list<string> $channels names and patterns that a worker consumes; empty: all topics
     * @param float $timeout timeout per connection step, in seconds
     * @param bool $write true: a test record may be sent
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
     * @param array<string, mixed> $options as parsed by the console
     *
     * @throws UsageError an invalid value
     */
    public static function fromArray(array $options): self
    {
        $given = $options['channels'] ?? [];
        $channels = $given === [] ? [] : OptionValue::channels($given);
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
