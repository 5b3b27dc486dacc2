<?php

/**
 * The extension in PHP: it loads, describes itself, and unloads cleanly.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Extension;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class LoadingEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testItLoadsAndUnloadsSilently(): void
    {
        $result = $this->runPhp('echo extension_loaded("toporia_realtime") ? "loaded" : "absent";')->assertExit();
        self::assertSame(['loaded', ''], [$result->stdout, $result->stderr]);
    }

    public function testItsVersionIsTheOneOfCargoToml(): void
    {
        preg_match('/^version = "(.+)"$/m', (string) file_get_contents(self::root() . '/Cargo.toml'), $cargo);
        self::assertSame($cargo[1], phpversion('toporia_realtime'));
    }

    public function testPhpRiShowsVersionsAndSettings(): void
    {
        $command = [PHP_BINARY, ...self::extensionOption(true), '--ri', 'toporia_realtime'];
        $result = (new ChildProcess($command, getenv()))->wait()->assertExit();
        self::assertStringContainsString((string) phpversion('toporia_realtime'), $result->stdout);
        self::assertMatchesRegularExpression('/librdkafka.* => \d+\.\d+/i', $result->stdout);
        self::assertStringContainsString('toporia_realtime.brokers', $result->stdout);
    }
}
