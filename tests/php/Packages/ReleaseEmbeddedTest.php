<?php

/**
 * `make release` without its builds: version, changelog and commit before them, checksums, notes and signature after them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

final class ReleaseEmbeddedTest extends PackagesTestCase
{
    private const FILES = [
        'Cargo.toml', 'Cargo.lock', 'composer.json', 'packaging/pie/composer.json', 'php/Support/Version.php',
        'clients/js/package.json', 'packaging/changelog.php', 'tools/common.sh', 'tools/version.sh', 'tools/release.sh',
    ];

    private const CHANGELOG = "# Changelog\n\nAbout.\n\n## [Unreleased]\n\n### Added\n\n- New.\n\n### Fixed\n\n- Repaired.\n";

    private string $copy = '';

    protected function setUp(): void
    {
        $this->copy = sys_get_temp_dir() . '/realtime-release-' . getmypid();
        self::execute(['rm', '-rf', $this->copy]);
        foreach (self::FILES as $path) {
            @mkdir(dirname("$this->copy/$path"), 0777, true);
            copy(self::root() . "/$path", "$this->copy/$path");
            chmod("$this->copy/$path", fileperms(self::root() . "/$path") & 0777);
        }
        file_put_contents("$this->copy/.gitignore", "/build\n");
        $this->changelog(self::CHANGELOG . "\n## [" . self::version() . "] - 2026-01-01\n\n- First.\n");
        $this->git('init', '-q');
        $this->git('add', '-A');
        $this->git('commit', '-q', '-m', 'Before');
    }

    protected function tearDown(): void
    {
        self::execute(['rm', '-rf', $this->copy]);
    }

    private function changelog(string $text): void
    {
        file_put_contents("$this->copy/CHANGELOG.md", $text);
    }

    private function git(string ...$arguments): string
    {
        $identity = ['-c', 'user.name=Test', '-c', 'user.email=test@example.com', '-c', 'commit.gpgsign=false'];
        [$status, $output, $errors] = self::execute(['git', ...$identity, '-C', $this->copy, ...$arguments]);
        self::assertSame(0, $status, $errors);

        return trim($output);
    }

    /** @return array{int, string, string} */
    private function release(string ...$arguments): array
    {
        $identity = ['GIT_AUTHOR_NAME' => 'Test', 'GIT_AUTHOR_EMAIL' => 'test@example.com'];
        $identity += ['GIT_COMMITTER_NAME' => 'Test', 'GIT_COMMITTER_EMAIL' => 'test@example.com', 'PHP' => PHP_BINARY];

        return self::execute(["$this->copy/tools/release.sh", ...$arguments], $identity);
    }

    public function testVersionAndChangelogAreWrittenAndCommitted(): void
    {
        [$status, , $errors] = $this->release('9.8.7', '--step=prepare');
        self::assertSame(0, $status, $errors);
        self::assertSame("9.8.7\n", self::execute(["$this->copy/tools/version.sh"])[1]);
        self::assertSame(['Version 9.8.7', ''], [$this->git('log', '-1', '--format=%s'), $this->git('status', '--porcelain')]);
        $text = (string) file_get_contents("$this->copy/CHANGELOG.md");
        self::assertMatchesRegularExpression(
            "/## \\[Unreleased\\]\n\n## \\[9\\.8\\.7\\] - \\d{4}-\\d\\d-\\d\\d\n\n### Added\n\n- New\\./",
            $text
        );
        self::assertStringContainsString("- Repaired.\n\n## [" . self::version() . '] - 2026-01-01', $text);
        // A second call finds everything done.
        $before = $this->git('rev-parse', 'HEAD');
        [$status, , $errors] = $this->release('9.8.7', '--step=prepare');
        self::assertSame([0, $before], [$status, $this->git('rev-parse', 'HEAD')], $errors);
    }

    public function testASectionThatIsNotReleasedYetIsJoinedByKind(): void
    {
        $pending = "\n## [9.8.7] - not released yet\n\n### Added\n\n- Older.\n\n## [0.0.1] - 2020-01-01\n\n- Oldest.\n";
        $this->changelog(self::CHANGELOG . $pending);
        $this->git('commit', '-q', '-a', '-m', 'Pending');
        [$status, , $errors] = $this->release('9.8.7', '--step=prepare');
        self::assertSame(0, $status, $errors);
        $text = (string) file_get_contents("$this->copy/CHANGELOG.md");
        self::assertStringContainsString("### Added\n\n- New.\n- Older.\n\n### Fixed\n\n- Repaired.\n\n## [0.0.1]", $text);
        self::assertStringNotContainsString('not released yet', $text);
    }

    public function testAnUncommittedChangeIsRefused(): void
    {
        file_put_contents("$this->copy/composer.json", "\n", FILE_APPEND);
        [$status, , $errors] = $this->release('9.8.7', '--step=prepare');
        self::assertSame(1, $status);
        self::assertStringContainsString('the work tree has changes', $errors);
    }

    public function testNothingToReleaseIsRefused(): void
    {
        $this->changelog("# Changelog\n\n## [Unreleased]\n\n## [" . self::version() . "] - 2026-01-01\n\n- First.\n");
        $this->git('commit', '-q', '-a', '-m', 'Nothing');
        [$status, , $errors] = $this->release('9.8.7', '--step=prepare');
        self::assertSame(1, $status);
        self::assertStringContainsString('there is nothing to release', $errors);
    }

    public function testTheChecksumsAreSignedWithTheNamedKey(): void
    {
        $key = "$this->copy/build/key";
        mkdir("$this->copy/build/release", 0777, true);
        self::execute(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', $key]);
        file_put_contents("$this->copy/build/release/package.zip", 'content');
        [$status, , $errors] = $this->release(self::version(), '--step=finish', "--key=$key");
        self::assertSame(0, $status, $errors);
        $sums = (string) file_get_contents("$this->copy/build/release/SHA256SUMS");
        self::assertSame(hash('sha256', 'content') . "  package.zip\n", $sums);
        $check = ['ssh-keygen', '-Y', 'check-novalidate', '-n', 'toporia-realtime'];
        $check = [...$check, '-s', "$this->copy/build/release/SHA256SUMS.sig"];
        [$status, $output, $errors] = self::execute($check, [], $sums);
        self::assertSame(0, $status, $output . $errors);
        self::assertSame(255, self::execute($check, [], "$sums ")[0], 'of a changed file');
        self::assertSame("- First.\n", file_get_contents("$this->copy/build/release-notes.md"));
    }

    public function testAnUnknownKeyIsRefusedBeforeTheBuild(): void
    {
        foreach (['--key=no-such-key' => 'gpg has no secret key', '--key=' => 'the key is missing'] as $key => $said) {
            [$status, , $errors] = $this->release('9.8.7', $key);
            self::assertSame(1, $status);
            self::assertStringContainsString($said, $errors);
            self::assertSame('Before', $this->git('log', '-1', '--format=%s'));
        }
    }
}
