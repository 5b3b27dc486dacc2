<?php

/**
 * The alert rules: promtool accepts them, each has a firing and a quiet test case, and a section in the runbook.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Symfony\Component\Yaml\Yaml;

final class AlertsEmbeddedTest extends DeployTestCase
{
    public static function setUpBeforeClass(): void
    {
        require_once '/usr/share/php/Symfony/Component/Yaml/autoload.php';
    }

    public function testPromtoolAcceptsRulesAndConfigurations(): void
    {
        $directory = self::root() . '/deploy/prometheus';
        $this->execute([self::program('promtool'), 'check', 'rules', "$directory/alerts.yml"])->assertExit();
        $this->execute([self::program('promtool'), 'check', 'config', "$directory/prometheus.yml"])->assertExit();
        // The rules have another path in the container.
        $compose = self::file('docker/prometheus.compose.yml', ['/etc/prometheus/alerts.yml' => "$directory/alerts.yml"]);
        $file = $this->write('prometheus.yml', $compose);
        $this->execute([self::program('promtool'), 'check', 'config', $file])->assertExit();
    }

    public function testEachRuleFiresOnlyWhereItShould(): void
    {
        $files = (array) glob(self::root() . '/deploy/prometheus/tests/*.yml');
        self::assertCount(count(self::alertGroups()), $files, 'a file of tests for each group');
        $this->execute([self::program('promtool'), 'test', 'rules', ...array_map('strval', $files)], [], 300.0)->assertExit();
        $fires = $quiet = [];
        foreach ($files as $file) {
            foreach (Yaml::parseFile((string) $file)['tests'] as $group) {
                foreach ($group['alert_rule_test'] as $test) {
                    $test['exp_alerts'] === [] ? $quiet[] = $test['alertname'] : $fires[] = $test['alertname'];
                }
            }
        }
        $alerts = array_keys(self::alerts());
        self::assertEqualsCanonicalizing($alerts, array_unique($fires), 'each is shown to fire');
        self::assertEqualsCanonicalizing($alerts, array_unique($quiet), 'and to stay quiet');
    }

    public function testEachRuleIsFiredByACauseInARealProcess(): void
    {
        $files = (array) glob(self::root() . '/tests/php/Metrics/*Test.php');
        $tests = implode('', array_map(static fn ($file): string => (string) file_get_contents((string) $file), $files));
        $missing = array_filter(
            array_keys(self::alerts()),
            static fn (string $alert): bool => !str_contains($tests, "'$alert'")
        );
        self::assertSame([], array_values($missing));
    }

    public function testEachRuleHasASectionInTheRunbook(): void
    {
        $runbook = (string) file_get_contents(self::root() . '/docs/alerts.md');
        preg_match_all('/^### (\S+)$/m', $runbook, $headings);
        self::assertSame(array_keys(self::alerts()), $headings[1], 'docs/alerts.md has them in the same order');
        foreach (self::alerts() as $name => $alert) {
            self::assertContains($alert['labels']['severity'], ['page', 'ticket'], $name);
            self::assertNotSame('', $alert['annotations']['summary'], $name);
            self::assertStringEndsWith('/docs/alerts.md#' . strtolower($name), $alert['annotations']['runbook_url']);
        }
    }

    /** @return list<array<string, mixed>> */
    private static function alertGroups(): array
    {
        return Yaml::parseFile(self::root() . '/deploy/prometheus/alerts.yml')['groups'];
    }

    /** @return array<string, array<string, mixed>> */
    private static function alerts(): array
    {
        return array_column(array_merge(...array_column(self::alertGroups(), 'rules')), null, 'alert');
    }
}
