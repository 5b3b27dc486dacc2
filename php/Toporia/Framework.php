<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Throwable;
use Toporia\Framework\Realtime\Message as FrameworkMessage;
use Toporia\Realtime\Message;

/**
 * Detects the generation of Toporia, if any, and adapts to it. Based on the framework's classes, because it exposes no
 * version.
 */
final class Framework
{
    /** The newer generation's command, which calls consume() in a loop and expects it to return. */
    private const LOOPING_COMMAND = 'Toporia\Framework\Console\Commands\Realtime\BrokerHandlerConsumeCommand';

    /** True for the real Toporia, false for the polyfill. */
    public static function isPresent(): bool
    {
        return class_exists('Toporia\Framework\Realtime\RealtimeManager');
    }

    /** True for the generation with health checks, where `*` is one segment in topic mappings. */
    public static function isNewer(): bool
    {
        return interface_exists('Toporia\Framework\Realtime\Contracts\HealthCheckableInterface');
    }

    /**
     * True if its `one-per-channel` topics keep dots (`realtime_user.1`), as in both generations with topic strategies.
     */
    public static function keepsDots(): bool
    {
        return class_exists('Toporia\Framework\Realtime\Brokers\Kafka\TopicStrategy\OneTopicPerChannelStrategy');
    }

    /**
     * True if consume() was called by a loop that expects it to return.
     *
     * @param list<array<string, mixed>> $trace of debug_backtrace()
     */
    public static function isCalledInLoop(array $trace): bool
    {
        return in_array(self::LOOPING_COMMAND, array_column($trace, 'class'), true);
    }

    /** The framework's message, which callbacks may type-hint. */
    public static function message(Message $message): FrameworkMessage
    {
        // The polyfill wraps the native message, so that unused data is not decoded.
        return method_exists(FrameworkMessage::class, 'fromNative')
            ? FrameworkMessage::fromNative($message)
            : FrameworkMessage::fromArray($message->toArray());
    }

    /**
     * The exception that the framework's manager expects; the original one if the framework has no such class.
     *
     * @param string $what beginning of the message: `Failed to publish on channel 'user.1'`
     */
    public static function exception(string $what, Throwable $e): Throwable
    {
        $class = 'Toporia\Framework\Realtime\Exceptions\BrokerException';

        return class_exists($class)
            ? new $class("$what: {$e->getMessage()}", ['broker' => 'kafka', 'reason' => $e->getMessage()], 0, $e)
            : $e;
    }
}
