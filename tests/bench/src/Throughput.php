<?php

/**
 * (a) and (b): CPU time per message, ours and its peers' in turn, so that load on the machine affects all of them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

use RuntimeException;

final class Throughput
{
    public function __construct(private ClientRunner $runner, private Table $table, private int $messages, private int $rounds)
    {
    }

    /**
     * @param string $at where: for the title
     */
    public function produce(string $brokers, string $at): void
    {
        $messages = (string) $this->messages;
        $clients = ['Realtime::broadcast()' => $this->runner->ours('broadcast', $brokers, $messages)];
        if ($this->runner->rdkafka !== null) {
            $clients['php-rdkafka + json_encode'] = $this->runner->rdkafka('rdkafka-produce', $brokers, $messages);
        }
        $clients['json_encode alone, no Kafka'] = $this->runner->plain('json-encode', $brokers, $messages);
        $clients['limit: plain Rust loop over librdkafka'] =
            $this->runner->limit('produce', $brokers, Load::topic(Load::WRITTEN), $messages);
        $this->compare("(a) Producing, $at", $clients);
    }

    /**
     * The topic of Load::READ must hold as many messages as there are rounds to read.
     */
    public function consume(string $brokers, string $at): void
    {
        $messages = (string) $this->messages;
        foreach (['data' => 'event and data', 'event' => 'event only'] as $what => $read) {
            $clients = ['consume()' => $this->runner->ours('consume', $brokers, $messages, $what)];
            if ($this->runner->rdkafka !== null) {
                $clients['php-rdkafka + json_decode'] =
                    $this->runner->rdkafka('rdkafka-consume', $brokers, $messages, $what);
            }
            $clients['limit: plain Rust loop over librdkafka'] =
                $this->runner->limit('consume', $brokers, Load::topic(Load::READ), $messages);
            $this->compare("(b) Consuming, $read, $at", $clients);
        }
    }

    /**
     * @param array<string, list<string>> $clients name to command, ours first
     */
    private function compare(string $title, array $clients): void
    {
        $cpu = $wall = [];
        for ($round = 0; $round < $this->rounds; $round++) {
            foreach ($clients as $name => $command) {
                $answer = $this->runner->run($command);
                if ($answer['delivered'] !== $answer['messages']) {
                    throw new RuntimeException("$name: only {$answer['delivered']} messages went through.");
                }
                $cpu[$name][] = $answer['cpu_us'] / $answer['messages'];
                $wall[$name][] = $answer['wall_us'] / $answer['messages'];
            }
        }
        $this->table->section($title, ['CPU median', 'CPU range', 'wall median', 'CPU : ours', 'range']);
        $ours = array_key_first($clients);
        foreach (array_keys($clients) as $name) {
            $ratios = array_map(static fn (float $its, float $own): float => $its / $own, $cpu[$name], $cpu[$ours]);
            $this->table->row($name, [
                sprintf('%.2f µs', Statistics::median($cpu[$name])),
                sprintf('%.2f–%.2f', min($cpu[$name]), max($cpu[$name])),
                sprintf('%.2f µs', Statistics::median($wall[$name])),
                sprintf('%.2f', Statistics::median($ratios)),
                sprintf('%.2f–%.2f', min($ratios), max($ratios)),
            ]);
        }
    }
}
