<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Fiber;
use Generator;
use ReflectionMethod;

/** The PHP layer treats the return value of a callback as the extension does. */
final class ReturnValue
{
    private const PROMISES = [
        'React\Promise\PromiseInterface',
        'GuzzleHttp\Promise\PromiseInterface',
        'Http\Promise\Promise',
        'Amp\Future',
        'Amp\Promise',
    ];

    /**
     * Runs a generator to its end; the value of its `return`, or the value itself.
     *
     * @throws UnfinishedWork a promise, or something else that is not waited for
     */
    public static function complete(mixed $value): mixed
    {
        if (!is_object($value)) {
            return $value;
        }
        while ($value instanceof Generator) {
            while ($value->valid()) {
                self::refuse($value->current(), 'yielded');
                $value->next();
            }
            $value = $value->getReturn();
        }
        self::refuse($value, 'returned');

        return $value;
    }

    private static function refuse(mixed $value, string $how): void
    {
        $kind = is_object($value) ? self::kind($value) : null;
        if ($kind !== null) {
            throw new UnfinishedWork(
                "A callback $how " . get_debug_type($value) . ", $kind, which is not waited for. Wait for it in the "
                . 'callback (await() or wait()) and return without it.'
            );
        }
    }

    private static function kind(object $value): ?string
    {
        foreach (self::PROMISES as $promise) {
            if ($value instanceof $promise) {
                return "a promise ($promise)";
            }
        }
        if ($value instanceof Fiber) {
            return $value->isTerminated() ? null : 'a Fiber that has not ended';
        }
        $then = method_exists($value, 'then') ? new ReflectionMethod($value, 'then') : null;
        $isThenable = $then !== null && $then->isPublic() && !$then->isStatic() && $then->getNumberOfParameters() > 1;

        return $isThenable ? 'a promise (it has then())' : null;
    }
}
