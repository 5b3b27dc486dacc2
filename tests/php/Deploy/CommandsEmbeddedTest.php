<?php

/**
 * Every command line in deploy/ and its pages: the command exists, and so does each of its options.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class CommandsEmbeddedTest extends TestCase
{
    use RunsPhp;

    /** @var array<string, list<string>> options by command */
    private static array $commands = [];

    /** @dataProvider files */
    #[DataProvider('files')]
    public function testCommandsAndOptionsExist(string $file): void
    {
        $lines = self::commandLines((string) file_get_contents(self::root() . "/$file"));
        foreach ($lines as [$command, $options]) {
            self::assertArrayHasKey($command, $this->commands(), "$file: there is no such command");
            foreach ($options as $option) {
                self::assertContains($option, $this->commands()[$command], "$file: $command has no such option");
            }
        }
        self::assertGreaterThanOrEqual(in_array(basename($file), ['capacity.md', 'alerts.md'], true) ? 0 : 1, count($lines));
    }

    /** @return array<string, array{string}> */
    public static function files(): array
    {
        $files = [
            'deploy/systemd/toporia-realtime-consume@.service',
            'deploy/systemd/toporia-realtime-gateway@.service',
            'deploy/systemd/toporia-realtime-outbox.service',
            'deploy/systemd/toporia-realtime-webhooks.service',
            'deploy/supervisor/toporia-realtime.conf',
            'deploy/pm2/ecosystem.config.cjs',
            'deploy/docker/Dockerfile',
            'deploy/docker/compose.yaml',
            'deploy/kubernetes/worker.yaml',
            'deploy/kubernetes/gateway.yaml',
            'deploy/kubernetes/webhooks.yaml',
            'docs/deployment.md',
            'docs/deploy-containers.md',
            'docs/alerts.md',
            'docs/capacity.md',
        ];

        return array_combine($files, array_map(static fn (string $file): array => [$file], $files));
    }

    /**
     * The worker's options are on a line of their own in systemd's environment file.
     */
    public function testTheOptionsOfTheEnvironmentFileExist(): void
    {
        $file = (string) file_get_contents(self::root() . '/deploy/systemd/worker.env.example');
        self::assertSame(1, preg_match('/^OPTIONS=(.+)$/m', $file, $line));
        preg_match_all('/--([a-z-]+)/', $line[1], $options);
        foreach ($options[1] as $option) {
            self::assertContains($option, $this->commands()['realtime:kafka:consume']);
        }
    }

    /**
     * Command and options, from the command name to the end of its line or list.
     *
     * @return list<array{string, list<string>}>
     */
    private static function commandLines(string $text): array
    {
        // Lists over several lines, in YAML (`- --option`) and JavaScript (`[…]`), are joined into one line.
        $text = (string) preg_replace(['/\n\s+- (?=--)/', "/,\n\s+(?=['`]--)/", '/\\\\\n\s+/'], ' ', $text);
        preg_match_all('/(?<![\w-])(realtime:[a-z:]+[a-z])\b(?!\.)([^\n]*)/', $text, $found, PREG_SET_ORDER);

        return array_map(static function (array $match): array {
            // Prose after a closing backtick is not an argument.
            preg_match_all('/(?<![\w-])--([a-z][a-z-]*)/', explode('` ', $match[2])[0], $options);

            return [$match[1], $options[1]];
        }, $found);
    }

    /** @return array<string, list<string>> */
    private function commands(): array
    {
        if (self::$commands === []) {
            foreach ($this->runConsole(['list', '--format=json'])->json()['commands'] as $command) {
                self::$commands[$command['name']] = array_keys($command['definition']['options']);
            }
        }

        return self::$commands;
    }
}
