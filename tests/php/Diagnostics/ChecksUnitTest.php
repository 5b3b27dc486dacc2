<?php

/**
 * The runner continues after a failure, skips checks without a subject, and prints no secret.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use Closure;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Symfony\Component\Console\Output\BufferedOutput;
use Symfony\Component\Console\Tester\CommandTester;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Configuration;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\DoctorOptions;
use Toporia\Realtime\Diagnostics\Checks;
use Toporia\Realtime\Diagnostics\Secrets;
use Toporia\Realtime\Diagnostics\Report;

final class ChecksUnitTest extends TestCase
{
    /**
     * @param list<string> $needs
     * @param Closure(Context): iterable<Finding> $run
     */
    private static function check(string $name, array $needs, Closure $run): Check
    {
        // A class of its own for each check: the name and the needs of a check are constants.
        $constants = ['NAME' => $name, 'TITLE' => ucfirst($name), 'NEEDS' => $needs];
        $code = '';
        foreach ($constants as $constant => $value) {
            $code .= "public const $constant = " . var_export($value, true) . ';';
        }

        return eval('return new class ($run) extends \\' . Check::class . "{ $code
            public function __construct(private \\Closure \$run) {}
            public function run(\\" . Context::class . " \$context): iterable { return (\$this->run)(\$context); } };");
    }

    /**
     * @param list<Check> $checks
     * @param array<string, mixed> $config
     *
     * @return array{string, array<string, int>}
     */
    private static function examine(array $checks, bool $json = false, array $config = []): array
    {
        $output = new BufferedOutput();
        $report = new Report($output, $json);
        $secrets = new Secrets($config);
        (new Checks($checks, $report, $secrets))->run(new Context($config, new DoctorOptions(), '/nowhere', $secrets));
        $report->end(0.1, false);

        return [$output->fetch(), $report->counts];
    }

    public function testItContinuesAndSkipsDependentChecks(): void
    {
        $checks = [
            self::check('first', [], static fn () => throw new RuntimeException('broken')),
            self::check('second', ['first'], static fn () => [Finding::ok('x', 'never')]),
            self::check('third', ['second'], static fn () => [Finding::ok('x', 'never')]),
            self::check('fourth', [], static fn () => [Finding::ok('x', 'yes'), Finding::warning('y', 'hm', 'do this')]),
        ];
        [$text, $counts] = self::examine($checks);
        self::assertSame(['ok' => 1, 'warning' => 1, 'error' => 1, 'skipped' => 2], $counts);
        self::assertStringContainsString("First\nerror      first: could not be checked: RuntimeException: broken", $text);
        self::assertStringContainsString('Skipped because the check "first" failed: second, third.', $text);
        self::assertStringContainsString("warning    y: hm\n           → do this\n", $text);
        self::assertStringNotContainsString('never', $text);
        self::assertStringContainsString('Errors found: 1 ok, 1 warning, 1 error, 2 skipped, in 0.1 s.', $text);
    }

    public function testACheckThatBlocks(): void
    {
        $block = static function (Context $context): iterable {
            $context->block('a', 'it is night');
            yield Finding::error('a', 'dark', 'wait');
        };
        [$json] = self::examine([self::check('a', [], $block), self::check('b', ['a'], static fn () => [])], true);
        $lines = array_map(static fn (string $line): array => json_decode($line, true), explode("\n", trim($json)));
        self::assertSame('skipped: it is night', $lines[1]['text']);
        self::assertSame(['type' => 'summary', 'ok' => 0, 'warning' => 0, 'error' => 1, 'skipped' => 1, 'seconds' => 0.1,
            'exit_code' => 1], $lines[2]);
    }

    public function testExitCodes(): void
    {
        $codes = [];
        foreach ([[Finding::OK], [Finding::WARNING], [Finding::ERROR], [Finding::SKIPPED]] as [$level]) {
            $report = new Report(new BufferedOutput());
            $report->finding(self::check('c', [], static fn () => []), new Finding($level, 'x', 'y', 'z'));
            $codes[] = [$report->end(0.1, false), $report->end(0.1, true)];
        }
        self::assertSame([[0, 0], [0, 1], [1, 1], [0, 0]], $codes);
    }

    public function testNoSecretIsPrinted(): void
    {
        $config = [
            'brokers' => ['kafka' => ['security' => ['password' => 'pass-word'], 'producer_config' => ['sasl.password' => 'other-word']]],
            'gateway' => ['secrets' => ['first-secret', 'second-secret'], 'encryption_master_key' => 'master-key'],
            'outbox' => ['dsn' => 'pgsql:host=x;password=dsn-word', 'password' => 'pdo-word'],
        ];
        $all = ['pass-word', 'other-word', 'first-secret', 'second-secret', 'master-key', 'dsn-word', 'pdo-word'];
        $words = implode(' ', [...$all, base64_encode('pass-word')]);
        $check = self::check('c', [], static fn () => [Finding::error($words, $words, $words, ['deep' => ['er' => $words]])]);
        foreach ([false, true] as $json) {
            [$text] = self::examine([$check], $json, $config);
            foreach ([...$all, base64_encode('pass-word')] as $secret) {
                self::assertStringNotContainsString($secret, $text);
            }
        }
    }

    public function testNamesOfBrokers(): void
    {
        self::assertSame(['a', 'b'], Configuration::brokers(['brokers' => ['a' => [], 'b' => ['topic_prefix' => 'pb']]]));
        self::assertSame(['kafka'], Configuration::brokers(['brokers' => ['one:9092', 'two:9092']]));
        self::assertSame(['kafka'], Configuration::brokers([]));
    }

    public function testTheErrorLogIsRestored(): void
    {
        $log = ini_set('error_log', '/nowhere/of/this/test.log');
        $command = (new Application(new PlainHost([], '/nowhere')))->find('realtime:doctor');
        (new CommandTester($command))->execute(['--timeout' => '100']);
        self::assertSame('/nowhere/of/this/test.log', ini_set('error_log', (string) $log));
    }

    public function testControlCharactersAreNotPrinted(): void
    {
        [$text] = self::examine([self::check('c', [], static fn () => [Finding::error('x', "a\e[31mb <info>c</>", 'd')])]);
        self::assertStringNotContainsString("\e", $text);
        self::assertStringContainsString('<info>c</>', $text);
    }
}
