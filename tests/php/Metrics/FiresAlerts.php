<?php

/**
 * Evaluates the shipped alert rules on what real processes expose: promtool repeats two scrapes over an hour.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

trait FiresAlerts
{
    /**
     * The first scrape holds for 20 minutes; then what changed between the two goes on for 40: counters increase by
     * their difference every minute, ages with the time, other gauges keep their value or continue to grow.
     *
     * @param Scrape $before without the condition
     * @param Scrape|null $after with the condition; null: the process cannot be scraped any more
     * @param float $seconds between the two scrapes
     * @param list<string> $alerts that must fire on the second part, and on none of the first
     */
    protected function assertFires(array $alerts, Scrape $before, ?Scrape $after, float $seconds, string $job): void
    {
        $labels = "job=\"$job\",instance=\"a:9101\"";
        $series = [];
        foreach (array_keys($before->samples + ($after->samples ?? [])) as $key) {
            [$name, $own] = explode('{', rtrim((string) $key, '}'), 2);
            $from = $before->samples[$key] ?? null;
            $to = $after?->samples[$key] ?? null;
            $step = $to === null ? 0.0 : $to - (float) $from;
            if (str_ends_with($name, '_age_seconds')) {
                $step *= 60 / $seconds;
            }
            $step = str_starts_with($name, 'process_start') ? 0.0 : max(0.0, $step);
            $series[] = [
                'series' => "$name{" . "$labels" . ($own === '' ? '' : ",$own") . '}',
                'values' => ($from === null ? '_x20' : "{$from}x20") . ' ' . ($to === null ? '_x40' : "$to+{$step}x40"),
            ];
        }
        $series[] = ['series' => "up{{$labels}}", 'values' => '1x20 ' . ($after === null ? '0x40' : '1x40')];
        foreach ($alerts as $alert) {
            $quiet = $this->evaluate($series, $alert, ['10m', '15m', '19m']);
            self::assertStringContainsString('SUCCESS', $quiet, "$alert before the condition");
            $fires = $this->evaluate($series, $alert, ['23m', '26m', '29m', '35m', '45m', '55m']);
            self::assertMatchesRegularExpression("/alertname: $alert.*got:\\[.*\\Q$alert\\E/s", $fires);
        }
    }

    /**
     * What promtool says where no alert is expected.
     *
     * @param list<array{series: string, values: string}> $series
     * @param list<string> $times
     */
    private function evaluate(array $series, string $alert, array $times): string
    {
        $expected = static fn (string $time): array =>
            ['alertname' => $alert, 'eval_time' => $time, 'exp_alerts' => []];
        // JSON is YAML.
        file_put_contents("$this->directory/alerts.test.yml", json_encode([
            'rule_files' => [self::root() . '/deploy/prometheus/alerts.yml'],
            'evaluation_interval' => '1m',
            'tests' => [[
                'interval' => '1m',
                'input_series' => $series,
                'alert_rule_test' => array_map($expected, $times),
            ]],
        ], JSON_UNESCAPED_SLASHES));
        exec('promtool test rules ' . escapeshellarg("$this->directory/alerts.test.yml") . ' 2>&1', $lines);

        return implode("\n", $lines);
    }
}
