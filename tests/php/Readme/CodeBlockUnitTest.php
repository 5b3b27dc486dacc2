<?php

/**
 * The blocks of a README are found with their comments and line numbers, without indentation.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Readme;

use PHPUnit\Framework\TestCase;

final class CodeBlockUnitTest extends TestCase
{
    public function testBlocksAndTheirComments(): void
    {
        $markdown = <<<'MARKDOWN'
            # Title
            ```php
            echo 1;
            ```
            <!-- run: prints "hello" -->
            ```bash
            echo hello
            ```
            <!-- something else -->

            <!-- run -->

            1. In a list:
            <!-- file: app/worker.php -->
               ```php
               if (true) {
                   run();
               }
               ```
            ```yaml
            no: code
            ```
            MARKDOWN;
        $file = (string) tempnam(sys_get_temp_dir(), 'realtime-test-');
        file_put_contents($file, $markdown . "\n");
        $blocks = CodeBlock::in($file);
        unlink($file);

        self::assertEquals([
            new CodeBlock('php', "echo 1;\n", 2, false, null, null),
            new CodeBlock('bash', "echo hello\n", 6, true, 'hello', null),
            new CodeBlock('php', "if (true) {\n    run();\n}\n", 15, false, null, 'app/worker.php'),
        ], $blocks);
    }
}
