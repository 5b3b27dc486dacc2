<?php

/**
 * State shared by the checks: configuration, connections, and results of earlier checks.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Diagnostics\Wire\ProtocolClient;
use Toporia\Realtime\Diagnostics\Wire\Probe;
use Toporia\Realtime\Diagnostics\Wire\Prober;

final class Context
{
    public readonly Settings $settings;
    public readonly ApplicationTopics $topics;
    public readonly TopicNames $deadLetters;
    public readonly string $group;
    /** @var array<string, Probe> by address: configured and advertised ones */
    public array $probes = [];
    /** @var array{id: ?string, controller: int, brokers: list<array{id: int, host: string, port: int, rack: ?string}>}|null */
    public ?array $cluster = null;
    /** @var array<string, array{partitions: list<array<string, mixed>>}>|null all topics, once requested */
    public ?array $existing = null;
    /** @var array<string, list<string>> permitted operations by topic */
    public array $operations = [];
    /** True if the cluster's clock was checked. */
    public bool $hasClock = false;
    /** True if the group has members; null: not checked. */
    public ?bool $hasMembers = null;

    private ?Admin $admin = null;
    /** @var array<string, string> */
    private array $blocked = [];

    /**
     * @param array<string, mixed> $config the array passed to the extension
     * @param string $directory root directory of the application
     * @param string|null $loadError reason why the configuration could not be loaded
     */
    public function __construct(
        public readonly array $config,
        public readonly DoctorOptions $options,
        public readonly string $directory,
        public readonly Secrets $secrets,
        public readonly ?string $loadError = null
    ) {
        $this->settings = new Settings($config, $options->broker);
        $this->topics = new ApplicationTopics($this->settings);
        $this->deadLetters = new TopicNames(rtrim($this->settings->text('dlq_prefix', 'dlq'), '.'));
        $this->group = $options->group ?? $this->settings->group();
    }

    public function hasExtension(): bool
    {
        return extension_loaded('toporia_realtime');
    }

    /**
     * Skips all checks that depend on this one.
     */
    public function block(string $check, string $why): void
    {
        $this->blocked[$check] ??= $why;
    }

    public function blocked(string $check): ?string
    {
        return $this->blocked[$check] ?? null;
    }

    /**
     * Probes a broker with Kafka's protocol.
     */
    public function probe(string $address): Probe
    {
        $prober = new Prober($this->settings->security(), $this->options->timeout);

        return $this->probes[$address] ??= $prober->probe($address);
    }

    /**
     * True for an embedded development broker of any process.
     */
    public function isMock(): bool
    {
        return str_starts_with((string) ($this->cluster['id'] ?? ''), 'mockCluster');
    }

    /**
     * The client of a reachable broker; null if none is reachable.
     */
    public function client(): ?ProtocolClient
    {
        foreach ($this->probes as $probe) {
            if ($probe->client !== null) {
                return $probe->client;
            }
        }

        return null;
    }

    /**
     * An admin client of the extension, with the application's settings.
     */
    public function admin(): Admin
    {
        return $this->admin ??= new Admin([
            'broker' => $this->settings->name,
            // Errors become findings; librdkafka's log lines would appear between them.
            'consumer_config' => ['log_level' => 0],
        ]);
    }

    /**
     * The names of all topics of the cluster, except Kafka's internal ones.
     *
     * @return list<string>
     */
    public function topicNames(): array
    {
        $this->existing ??= $this->admin()->topics();

        return array_map('strval', array_keys($this->existing));
    }

    /**
     * The topics that a worker of this application reads.
     *
     * @return list<string>
     */
    public function consumed(): array
    {
        $existing = $this->topicNames();

        return $this->options->channels !== []
            ? $this->topics->of($this->options->channels, $existing)
            : array_values(array_unique([
                ...array_map('strval', array_keys($this->topics->configured())),
                ...$this->topics->own($existing),
            ]));
    }

    public function close(): void
    {
        $this->admin?->close();
        $this->admin = null;
        $this->probes = [];
    }
}
