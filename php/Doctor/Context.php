<?php

/**
 * What the checks share: the configuration, the connection, and what earlier checks found out.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Doctor\Wire\ProtocolClient;
use Toporia\Realtime\Doctor\Wire\Probe;
use Toporia\Realtime\Doctor\Wire\Prober;

final class Context
{
    public readonly Settings $settings;
    public readonly ApplicationTopics $topics;
    public readonly TopicNames $deadLetters;
    public readonly string $group;
    /** @var array<string, Probe> by address; of the list and of the cluster's own answers */
    public array $probes = [];
    /** @var array{id: ?string, controller: int, brokers: list<array{id: int, host: string, port: int, rack: ?string}>}|null */
    public ?array $cluster = null;
    /** @var array<string, array{partitions: list<array<string, mixed>>}>|null every topic, once it was asked for */
    public ?array $existing = null;
    /** @var array<string, list<string>> what this user may do with each topic that was asked about */
    public array $operations = [];
    /** True if the cluster's clock has had its line. */
    public bool $hasClock = false;
    /** True if the group has members just now; null: nobody looked. */
    public ?bool $hasMembers = null;

    private ?Admin $admin = null;
    /** @var array<string, string> */
    private array $blocked = [];

    /**
     * @param array<string, mixed> $config the array that the extension is given
     * @param string $directory where the application lives
     * @param string|null $loadError why there is no configuration to look at
     */
    public function __construct(
        public readonly array $config,
        public readonly Options $options,
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
     * Says that nothing which needs this check can be looked at.
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
     * Asks Kafka in its own protocol, at that address.
     */
    public function probe(string $address): Probe
    {
        $prober = new Prober($this->settings->security(), $this->options->timeout);

        return $this->probes[$address] ??= $prober->probe($address);
    }

    /**
     * True if the cluster is an embedded development broker, of whatever process.
     */
    public function isMock(): bool
    {
        return str_starts_with((string) ($this->cluster['id'] ?? ''), 'mockCluster');
    }

    /**
     * A broker that was reached, for further questions; null where none was.
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
     * Asks Kafka through the extension, as the application does.
     */
    public function admin(): Admin
    {
        return $this->admin ??= new Admin([
            'broker' => $this->settings->name,
            // What goes wrong is in the findings; librdkafka's own lines would stand between them.
            'consumer_config' => ['log_level' => 0],
        ]);
    }

    /**
     * The names of all topics of the cluster, Kafka's own left out.
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
