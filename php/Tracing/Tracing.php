<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

use OpenTelemetry\API\Globals;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Support\ReturnValue;

/**
 * Access to trace context: of a received message, the current one, and running code in the trace of a message. Values
 * of `realtime.tracing`: null or `auto` use OpenTelemetry if the application has set it up; false disables tracing;
 * true requires OpenTelemetry; `continue` uses OpenTelemetry with the sender's span as parent of the handling span. It
 * may also be a Tracer, the name of its class, or a callable that returns headers.
 */
final class Tracing
{
    private static mixed $setting = null;
    private static ?Hook $hook = null;
    private static bool $resolved = false;

    /**
     * The trace context of a received message: `traceparent`, `tracestate` and `baggage`, if present and valid.
     *
     * @return array<string, string>
     */
    public static function context(Message $message): array
    {
        $context = [];
        foreach (W3c::HEADERS as $name) {
            $values = $message->getHeaderValues($name);
            $context[$name] = $values === [] ? null : $values[count($values) - 1];
        }

        return W3c::filter($context)[0];
    }

    /**
     * The current trace context, for messages stored and sent later; empty without a tracer.
     *
     * @return array<string, string>
     */
    public static function headers(): array
    {
        return self::hook()?->headers() ?? [];
    }

    /**
     * Runs code in the trace of a message, as consume() does with callbacks: for poll(), and for messages handled in a
     * queue.
     *
     *     $message = $broker->poll();
     *     Tracing::handle($message, fn () => $orders->ship($message));
     *
     * @template T
     *
     * @param Message|non-empty-list<Message> $messages
     * @param callable(): T $call
     * @param string $group consumer group, for the span
     *
     * @return T
     *
     * @throws Throwable thrown by $call
     */
    public static function handle(Message|array $messages, callable $call, string $group = ''): mixed
    {
        $hook = self::hook();
        if ($hook === null) {
            return ReturnValue::complete($call());
        }
        $hook->handling($messages, $group);
        $why = null;
        try {
            return ReturnValue::complete($call());
        } catch (Throwable $why) {
            throw $why;
        } finally {
            $hook->handled($why);
        }
    }

    /**
     * Applies the setting; called by Realtime::configure().
     *
     * @internal
     *
     * @throws ConfigurationException invalid setting
     */
    public static function use(mixed $setting): void
    {
        if (is_string($setting) && in_array(strtolower($setting), ['true', 'on', 'yes', '1'], true)) {
            $setting = true;
        }
        $known = $setting === null || is_bool($setting) || $setting === 'continue' || is_callable($setting)
            || $setting instanceof Tracer || is_string($setting) && is_subclass_of($setting, Tracer::class);
        if (!$known) {
            throw new ConfigurationException(
                'realtime.tracing is ' . (is_string($setting) ? "'$setting'" : get_debug_type($setting)) . '; it is true, '
                . "false, 'auto', 'continue', a " . Tracer::class . ', its class, or a callable that returns headers.'
            );
        }
        if (($setting === true || $setting === 'continue') && !class_exists(Globals::class)) {
            throw new ConfigurationException(
                'realtime.tracing is set to OpenTelemetry, which is not installed: composer require open-telemetry/api.'
            );
        }
        self::$setting = $setting;
        self::$hook = null;
        self::$resolved = false;
    }

    /**
     * The hook called by the extension; null without a tracer.
     *
     * @internal
     */
    public static function hook(): ?Hook
    {
        if (!self::$resolved) {
            $tracer = self::tracer();
            // Not cached: OpenTelemetry may be set up later.
            self::$resolved = $tracer !== null || self::$setting === false;
            self::$hook = $tracer === null ? null : new Hook($tracer);
        }

        return self::$hook;
    }

    private static function tracer(): ?Tracer
    {
        $setting = self::$setting;
        if ($setting instanceof Tracer) {
            return $setting;
        }
        if ($setting === true || $setting === 'continue') {
            return new OpenTelemetry($setting === 'continue');
        }
        if (is_string($setting) && is_subclass_of($setting, Tracer::class)) {
            return new $setting();
        }
        if (is_callable($setting)) {
            return new CallableTracer($setting);
        }
        // Not autoloaded: it is already loaded if the application uses it, and a failing lookup would cost others.
        if ($setting === false || !class_exists(Globals::class, false)) {
            return null;
        }
        $word = strtolower(trim((string) Environment::get('REALTIME_TRACING')));

        return in_array($word, ['off', 'false', 'no', '0'], true) ? null : new OpenTelemetry($word === 'continue');
    }
}
