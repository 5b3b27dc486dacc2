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
        $clients = [
            'consume(), event and data' => $this->runner->ours('consume', $brokers, $messages, 'data'),
            'consume(), event only' => $this->runner->ours('consume', $brokers, $messages, 'event'),
        ];
        if ($this->runner->rdkafka !== null) {
            $clients['php-rdkafka + json_decode, event and data'] =
                $this->runner->rdkafka('rdkafka-consume', $brokers, $messages, 'data');
        }
        $clients['limit: plain Rust loop over librdkafka'] =
            $this->runner->limit('consume', $brokers, Load::topic(Load::READ), $messages);
        $this->compare("(b) Consuming, $at", $clients);
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
        $this->table->section($title, ['CPU median', 'CPU min', 'wall median', 'CPU, to ours']);
        $ours = Statistics::median(reset($cpu));
        foreach (array_keys($clients) as $name) {
            $median = Statistics::median($cpu[$name]);
            $this->table->row($name, [
                sprintf('%.2f µs', $median),
                sprintf('%.2f µs', min($cpu[$name])),
                sprintf('%.2f µs', Statistics::median($wall[$name])),
                sprintf('%.2f', $median / $ours),
            ]);
        }
    }
}
