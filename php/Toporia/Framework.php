<?php

/**
 * What differs between the generations of Toporia, and having none.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Throwable;
use Toporia\Framework\Realtime\Message as FrameworkMessage;
use Toporia\Realtime\Message;

/**
 * Answers by looking at the framework's classes: it has no version to ask for.
 */
final class Framework
{
    /** The newer generation's command, which loops over consume() itself and so wants it to come back. */
    private const LOOPING_COMMAND = 'Toporia\Framework\Console\Commands\Realtime\BrokerHandlerConsumeCommand';

    /**
     * True if this is Toporia, not code written for it on a polyfill.
     */
    public static function isPresent(): bool
    {
        return class_exists('Toporia\Framework\Realtime\RealtimeManager');
    }

    /**
     * The generation with health checks, and with `*` for one segment in topic mappings.
     */
    public static function isNewer(): bool
    {
        return interface_exists('Toporia\Framework\Realtime\Contracts\HealthCheckableInterface');
    }

    /**
     * True if its `one-per-channel` topics keep dots (`realtime_user.1`), as both generations with strategies have
     * them.
     */
    public static function keepsDots(): bool
    {
        return class_exists('Toporia\Framework\Realtime\Brokers\Kafka\TopicStrategy\OneTopicPerChannelStrategy');
    }

    /**
     * True if consume() was called by a loop that waits for it to come back.
     *
     * @param list<array<string, mixed>> $trace of debug_backtrace()
     */
    public static function isCalledInLoop(array $trace): bool
    {
        return in_array(self::LOOPING_COMMAND, array_column($trace, 'class'), true);
    }

    /**
     * The framework's message, which callbacks may be typed to.
     */
    public static function message(Message $message): FrameworkMessage
    {
        // The polyfill wraps it: what nobody reads is not decoded.
        return method_exists(FrameworkMessage::class, 'fromNative')
            ? FrameworkMessage::fromNative($message)
            : FrameworkMessage::fromArray($message->toArray());
    }

    /**
     * The exception that the framework's manager expects; ours where the framework has none.
     *
     * @param string $what begins the sentence: `Failed to publish on channel 'user.1'`
     */
    public static function exception(string $what, Throwable $e): Throwable
    {
        $class = 'Toporia\Framework\Realtime\Exceptions\BrokerException';

        return class_exists($class)
            ? new $class("$what: {$e->getMessage()}", ['broker' => 'kafka', 'reason' => $e->getMessage()], 0, $e)
            : $e;
    }
}
