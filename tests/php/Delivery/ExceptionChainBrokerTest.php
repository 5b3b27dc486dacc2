<?php

/**
 * What is known of a failure afterwards: class, message, file and line of everything that was thrown, in the log, the dead letter
 * and onFailed().
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use ArgumentCountError;
use Closure;
use DivisionByZeroError;
use DomainException;
use Error;
use Exception;
use PHPUnit\Framework\Attributes\DataProvider;
use ReflectionProperty;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Message;
use TypeError;

final class ExceptionChainBrokerTest extends DeliveryTestCase
{
    /**
     * @return array<string, array{Closure(): mixed, class-string<Throwable>, string}>
     */
    public static function errors(): array
    {
        return [
            'TypeError' => [static fn () => strlen([]), TypeError::class, 'strlen(): Argument #1'],
            'undefined function' => [static fn () => no_such_function(), Error::class, 'undefined function'],
            'ArgumentCountError' => [static fn () => (static fn (int $a) => $a)(), ArgumentCountError::class, 'Too few arguments'],
            'division by zero' => [static fn () => 1 % (int) '0', DivisionByZeroError::class, 'Modulo by zero'],
            'Exception' => [static fn () => throw new DomainException('no stock'), DomainException::class, 'no stock'],
        ];
    }

    /**
     * @param Closure(): mixed $fail
     * @param class-string<Throwable> $class
     *
     * @dataProvider errors
     */
    #[DataProvider('errors')]
    public function testTheMessageOfWhateverIsThrownIsKept(Closure $fail, string $class, string $text): void
    {
        $this->produce(['A1']);
        $broker = $this->broker(['max_retries' => 0])->subscribeTopic($this->topic(), static function () use ($fail): void {
            $fail();
        });
        $why = null;
        $broker->onFailed(static function (Message $message, Throwable $e) use (&$why): void {
            $why = $e;
        });
        $this->drain($broker);
        $headers = $this->letters(1)[0]->getHeaders();
        self::assertSame($class, $headers['x-exception-class']);
        self::assertStringContainsString($text, $headers['x-exception-message']);
        self::assertStringContainsString($text, $headers['x-exception-chain']);
        self::assertStringContainsString(' in ' . __FILE__ . ':', $headers['x-exception-chain']);
        self::assertInstanceOf($class, $why);
        self::assertStringContainsString($text, $this->logged());
        self::assertStringContainsString(basename(__FILE__), $this->logged());
    }

    public function testTheWholeChainIsKept(): void
    {
        $headers = $this->deadLetterOf(new RuntimeException('outer', 0, new TypeError('middle', 0, new DomainException('inner'))));
        $line = __LINE__ - 1;
        self::assertSame('outer', $headers['x-exception-message']);
        self::assertSame(
            sprintf(
                'RuntimeException: outer in %1$s:%2$d; caused by TypeError: middle in %1$s:%2$d; '
                    . 'caused by DomainException: inner in %1$s:%2$d',
                __FILE__,
                $line,
            ),
            $headers['x-exception-chain'],
        );
        self::assertStringContainsString('caused by DomainException: inner', $this->logged());
    }

    public function testTextThatIsNotUtf8IsCleanedNotDropped(): void
    {
        $headers = $this->deadLetterOf(new Error("no \xFF stock"));
        self::assertSame("no \u{FFFD} stock", $headers['x-exception-message']);
        self::assertStringContainsString("Error: no \u{FFFD} stock in ", $headers['x-exception-chain']);
    }

    public function testAnExceptionThatIsItsOwnCauseHasAnEnd(): void
    {
        $circular = new Exception('round');
        (new ReflectionProperty(Exception::class, 'previous'))->setValue($circular, new Error('and round', 0, $circular));
        $headers = $this->deadLetterOf($circular);
        self::assertSame('round', $headers['x-exception-message']);
        self::assertLessThan(5000, strlen($headers['x-exception-chain']));
        (new ReflectionProperty(Exception::class, 'previous'))->setValue($circular, null);
    }

    public function testAMessageThatIsNoTextIsEmpty(): void
    {
        $odd = new class () extends Exception {
            public function __construct()
            {
                $this->message = ['an', 'array'];
            }
        };
        self::assertSame('', $this->deadLetterOf($odd)['x-exception-message']);
    }

    public function testNackKeepsTheChain(): void
    {
        $this->produce(['A1']);
        $broker = $this->broker(['max_retries' => 0])->subscribeTopic($this->topic());
        $message = $broker->poll(20_000);
        self::assertNotNull($message);
        $broker->nack($message, new Error('outer', 0, new Exception('inner')));
        $broker->close();
        $headers = $this->letters(1)[0]->getHeaders();
        self::assertSame('outer', $headers['x-exception-message']);
        self::assertStringContainsString('; caused by Exception: inner in ', $headers['x-exception-chain']);
    }

    /**
     * @return array<string, string|null> the headers of the dead letter of a record whose callback throws
     */
    private function deadLetterOf(Throwable $why): array
    {
        $this->produce(['A1']);
        $this->drain($this->consumer(static fn () => $why, ['max_retries' => 0]));

        return $this->letters(1)[0]->getHeaders();
    }
}
