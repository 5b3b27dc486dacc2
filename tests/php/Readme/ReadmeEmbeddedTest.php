<?php

/**
 * The examples of README and docs are real: every PHP and shell block parses, and the marked ones run as promised.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Readme;

use PHPUnit\Framework\Attributes\After;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class ReadmeEmbeddedTest extends TestCase
{
    use RunsPhp;

    private string $project = '';

    /** @return iterable<string, array{string}> every page that has php or bash blocks */
    public static function pages(): iterable
    {
        foreach ([...glob(self::root() . '/README*.md'), ...glob(self::root() . '/docs/*.md')] as $page) {
            if (CodeBlock::in($page) !== []) {
                yield substr($page, strlen(self::root()) + 1) => [$page];
            }
        }
    }

    /** @return iterable<string, array{string}> those whose blocks are marked to run */
    public static function pagesThatRun(): iterable
    {
        foreach (self::pages() as $name => [$page]) {
            if (array_filter(CodeBlock::in($page), static fn (CodeBlock $block): bool => $block->runs) !== []) {
                yield $name => [$page];
            }
        }
    }

    /** @dataProvider pages */
    #[DataProvider('pages')]
    public function testEveryBlockParses(string $page): void
    {
        $blocks = CodeBlock::in($page);
        self::assertNotEmpty($blocks, 'No php or bash block found.');
        foreach ($blocks as $block) {
            $result = $block->language === 'php' ? $this->lintPhp($block->code) : $this->lintShell($block->code);
            self::assertSame(0, $result->exitCode, basename($page) . ":$block->line " . $result->describe());
        }
    }

    /**
     * In order, in one directory, like a reader: a later block sees the results of an earlier one.
     *
     * @dataProvider pagesThatRun
     */
    #[DataProvider('pagesThatRun')]
    public function testTheMarkedBlocksRun(string $page): void
    {
        $kafka = EmbeddedBroker::start();
        $this->makeProject();
        $env = [
            'KAFKA_BROKERS' => $kafka->address(),
            'PATH' => "$this->project/.bin:" . getenv('PATH'),
        ] + getenv();
        $ran = 0;
        foreach (CodeBlock::in($page) as $block) {
            if ($block->file !== null) {
                @mkdir(dirname("$this->project/$block->file"), 0777, true);
                file_put_contents("$this->project/$block->file", $block->code);
            }
            if (!$block->runs) {
                continue;
            }
            // On the embedded broker a group's second member waits for the first one's session to expire: a group for
            // each block.
            $group = ['KAFKA_CONSUMER_GROUP' => "readme-$block->line"];
            $result = $this->startBlock($block, $group + $env)->wait(60.0);
            $where = basename($page) . ":$block->line ";
            self::assertSame(0, $result->exitCode, $where . $result->describe());
            if ($block->prints !== null) {
                self::assertStringContainsString($block->prints, $result->stdout . $result->stderr, $where);
            }
            $ran++;
        }
        $kafka->stop();
        self::assertGreaterThan(0, $ran, 'No block is marked with <!-- run -->.');
    }

    /** @after */
    #[After]
    protected function removeProject(): void
    {
        if ($this->project !== '') {
            (new ChildProcess(['rm', '-rf', $this->project], getenv()))->wait();
            $this->project = '';
        }
    }

    /** A user's project directory: vendor/autoload.php, ./console, and a php with the extension. */
    private function makeProject(): void
    {
        $this->project = sys_get_temp_dir() . '/realtime-readme-' . bin2hex(random_bytes(4));
        mkdir("$this->project/vendor", 0777, true);
        mkdir("$this->project/.bin");
        $layer = var_export(self::root() . '/php/autoload.php', true);
        file_put_contents("$this->project/vendor/autoload.php", "<?php require $layer;\n");
        symlink(self::root() . '/console', "$this->project/console");
        $php = implode(' ', array_map('escapeshellarg', [PHP_BINARY, ...self::extensionOption(true)]));
        file_put_contents("$this->project/.bin/php", "#!/bin/sh\nexec $php \"\$@\"\n");
        chmod("$this->project/.bin/php", 0755);
    }

    /** @param array<string, string> $env */
    private function startBlock(CodeBlock $block, array $env): ChildProcess
    {
        if ($block->language === 'php') {
            $code = str_starts_with($block->code, '<?php') ? $block->code : self::preamble($block->code) . $block->code;
            file_put_contents("$this->project/example.php", $code);
            // By its path: proc_open looks up programs in this process's path, not in the child's.
            $command = ["$this->project/.bin/php", 'example.php'];
        } else {
            $command = ['bash', '-euo', 'pipefail', '-c', $block->code];
        }

        return $this->children[] = new ChildProcess($command, $env, $this->project);
    }

    /** The context of an example that the text assumes: the autoloader, and the imported classes. */
    private static function preamble(string $code): string
    {
        $preamble = "<?php require 'vendor/autoload.php'; ";
        foreach (['Realtime', 'Broker', 'Message', 'EmbeddedBroker'] as $class) {
            if (!preg_match('/^use Toporia\\\\Realtime\\\\(\{[^}]*\b)?' . $class . '\b/m', $code)) {
                $preamble .= "use Toporia\\Realtime\\$class; ";
            }
        }

        return $preamble . "\n";
    }

    /** As a file, a class body, or entries of a configuration array: documentation shows fragments. */
    private function lintPhp(string $code): ProcessResult
    {
        if (str_starts_with($code, '<?php')) {
            return $this->lint([PHP_BINARY, '-n', '-l'], $code);
        }
        $whole = $this->lint([PHP_BINARY, '-n', '-l'], "<?php\n$code");
        foreach (["<?php class X {\n$code\n}", "<?php return [\n$code\n];"] as $piece) {
            if ($whole->exitCode !== 0 && $this->lint([PHP_BINARY, '-n', '-l'], $piece)->exitCode === 0) {
                return $this->lint([PHP_BINARY, '-n', '-l'], $piece);
            }
        }

        return $whole;
    }

    private function lintShell(string $code): ProcessResult
    {
        return $this->lint(['bash', '-n'], $code);
    }

    /** @param list<string> $command that reads the code from its standard input */
    private function lint(array $command, string $code): ProcessResult
    {
        return (new ChildProcess($command, getenv(), null, $code))->wait();
    }
}
