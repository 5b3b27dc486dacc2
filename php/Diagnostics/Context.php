<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Gateway;

/** State shared by the checks: configuration, connections, and results of earlier checks. */
final class Context
{
    public readonly Configuration $configuration;
    /**
     * The settings as the extension resolves them, of Admin::configuration(); empty if they are not known, which blocks
     * "configuration".
     *
     * @var array<string, mixed>
     */
    public readonly array $settings;
    public readonly ?string $group;
    /** @var array<string, BrokerProbe> by address: configured and advertised ones */
    public array $probes = [];
    /** The probe of a broker that responds. */
    public ?BrokerProbe $cluster = null;
    /** @var array<string, TopicState>|null all topics, once requested */
    private ?array $existing = null;
    /** @var array<string, list<string>> permitted operations by topic */
    public array $operations = [];
    /** True if the group has members; null: not checked. */
    public ?bool $hasMembers = null;

    private ?Admin $admin = null;
    private ?TopicPlan $plan = null;
    /** @var array<string, mixed>|null of Gateway::configuration() */
    private ?array $gateway = null;
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
        $this->configuration = new Configuration($config, $options->broker);
        $this->settings = $this->configuration->settings ?? [];
        $this->group = $options->group ?? $this->settings['consumer_group'] ?? null;
    }

    /** The configured topics. */
    public function plan(): TopicPlan
    {
        return $this->plan ??= new TopicPlan($this->settings);
    }

    /**
     * The settings of the gateway, of Gateway::configuration(); null if neither a gateway nor signing for one is
     * configured.
     *
     * @return array<string, mixed>|null
     */
    public function gateway(): ?array
    {
        $this->gateway ??= Gateway::configuration();
        $credentials = $this->gateway['app_id'] . $this->gateway['key'] . $this->gateway['secret'];

        return $credentials === '' ? null : $this->gateway;
    }

    public function hasExtension(): bool
    {
        return extension_loaded('toporia_realtime');
    }

    /** Skips all checks that depend on this one. */
    public function block(string $check, string $why): void
    {
        $this->blocked[$check] ??= $why;
    }

    public function blocked(string $check): ?string
    {
        return $this->blocked[$check] ?? null;
    }

    /** Connects to a broker. */
    public function probe(string $address): BrokerProbe
    {
        return $this->probes[$address]
            ??= new BrokerProbe($this->admin(), $address, $this->settings['security'], $this->options->timeout);
    }

    /** True for an embedded development broker of any process. */
    public function isMock(): bool
    {
        return str_starts_with((string) $this->cluster?->cluster, 'mockCluster');
    }

    /** An admin client of the extension, with the application's settings. */
    public function admin(): Admin
    {
        return $this->admin ??= new Admin([
            'broker' => $this->settings['broker'],
            // Errors become findings; librdkafka's log lines would appear between them.
            'consumer_config' => ['log_level' => 0],
        ]);
    }

    /**
     * All topics of the cluster, except Kafka's internal ones.
     *
     * @return array<string, TopicState> by name
     */
    public function topics(): array
    {
        return $this->existing ??= TopicState::all($this->admin()->topics());
    }

    /** @return list<string> */
    public function topicNames(): array
    {
        return array_map('strval', array_keys($this->topics()));
    }

    /**
     * The topics that a worker of this application reads.
     *
     * @return list<string> existing topics for patterns; configured ones, and those of names, also if they are missing
     */
    public function consumed(): array
    {
        $topics = [];
        foreach ($this->admin()->topicsOf($this->options->channels ?: ['**']) as $topic) {
            $isPattern = str_starts_with($topic, '^');
            array_push($topics, ...($isPattern ? preg_grep("~$topic~", $this->topicNames()) ?: [] : [$topic]));
        }

        return array_values(array_unique($topics));
    }

    public function close(): void
    {
        $this->admin?->close();
        $this->admin = null;
        $this->probes = [];
    }
}
