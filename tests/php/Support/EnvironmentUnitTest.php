<?php

/**
 * Comments at the end of environment variables, read directly and through env() in an array.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Outbox\Settings;
use Toporia\Realtime\Polyfill\ConfigFiles;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Toporia\Configuration;

final class EnvironmentUnitTest extends TestCase
{
    private string $errorLog = '';

    protected function setUp(): void
    {
        // Without the extension, warnings are written to the error log.
        $this->errorLog = (string) ini_set('error_log', '/dev/null');
    }

    protected function tearDown(): void
    {
        ini_set('error_log', $this->errorLog);
        foreach (array_keys($_ENV) as $name) {
            if (str_starts_with((string) $name, 'TEST_') || str_starts_with((string) $name, 'REALTIME_OUTBOX')) {
                unset($_ENV[$name]);
            }
        }
    }

    /** @return array<string, array{string, string, string|null}> */
    public static function values(): array
    {
        return [
            'a comment' => ['TEST_A', 'localhost:9092 # local', 'localhost:9092'],
            'after a tab' => ['TEST_A', "a:1,b:2\t#x", 'a:1,b:2'],
            'only a comment' => ['TEST_A', '# not set', null],
            'quoted' => ['TEST_A', '"a:1" # quoted', 'a:1'],
            'a secret' => ['TEST_PASSWORD', 'hunter2 # secret', 'hunter2'],
            'no comment' => ['TEST_A', 'a#b', 'a#b'],
            'quoted, without a comment' => ['TEST_A', '"my # shop"', '"my # shop"'],
            'a secret with #' => ['TEST_PASSWORD', 'hunter #2', 'hunter #2'],
            'a secret that begins with #' => ['TEST_MASTER_KEY', '#hunter', '#hunter'],
        ];
    }

    /** @dataProvider values */
    #[DataProvider('values')]
    public function testATrailingCommentIsNotPartOfTheValue(string $name, string $value, ?string $expected): void
    {
        $_ENV[$name] = $value;
        self::assertSame($expected, Environment::get($name));
        // env() also removes the quotes, as the frameworks' does.
        self::assertSame(trim($expected ?? '', '"'), ConfigFiles::env($name));
        $key = str_contains($name, 'TEST_A') ? 'linger.ms' : 'password';
        self::assertSame([$key => $expected ?? ''], Environment::withoutComments([$key => $value]));
    }

    public function testInAnArrayOnlyTheTextOfAVariableIsChanged(): void
    {
        $_ENV['TEST_LINGER'] = '5 # ms';
        $_ENV['TEST_BROKERS'] = 'a:1,b:2 # both';
        $_ENV['TEST_LOGIN'] = 'x #2';
        $_ENV['HTTP_TEST'] = 'orders # 1';
        $config = [
            'brokers' => explode(',', 'a:1,b:2 # both'), 'consumer_group' => 'orders # 1', 'acks' => 1, 'log' => null,
            'producer_config' => ['linger.ms' => '5 # ms', 'client.id' => 'a # b'],
            'security' => ['password' => 'x #2'],
        ];
        $clean = Environment::withoutComments($config);
        self::assertSame(['a:1', 'b:2'], $clean['brokers']);
        self::assertSame(['linger.ms' => '5', 'client.id' => 'a # b'], $clean['producer_config']);
        unset($config['brokers'], $config['producer_config'], $clean['brokers'], $clean['producer_config']);
        self::assertSame($config, $clean);
        unset($_ENV['HTTP_TEST']);
    }

    public function testTheSettingsThatPhpReads(): void
    {
        $_ENV['REALTIME_OUTBOX_DSN'] = 'sqlite:/tmp/x.db # the outbox';
        $_ENV['TEST_TABLE'] = 'events # or realtime_outbox';
        $_ENV['TEST_STRATEGY'] = 'one-per-channel # few channels';
        self::assertSame('sqlite', Settings::of(['outbox' => ['table' => $_ENV['TEST_TABLE']]])->driver());
        self::assertSame('sqlite', Settings::of(['outbox' => ['dsn' => $_ENV['REALTIME_OUTBOX_DSN']]])->driver());
        $kafka = ['topic_strategy' => $_ENV['TEST_STRATEGY']];
        $config = Configuration::application(['brokers' => ['kafka' => $kafka]]);
        self::assertStringStartsWith('one-per-channel', $config['brokers']['kafka']['topic_strategy']);
        self::assertStringNotContainsString('#', $config['brokers']['kafka']['topic_strategy']);
    }
}
