<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\SpoolDirectory;
use Toporia\Realtime\Diagnostics\SpoolState;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:spool: lists the directories of the spool, and adopts one that no process sends. Messages of a directory are
 * sent by processes of the same cluster, topic_prefix and application. An adopted directory is sent by every process of
 * the cluster that adopted it.
 */
#[AsCommand('realtime:spool', 'List messages in the spool, and adopt those of another configuration')]
final class SpoolCommand extends Command
{
    protected function configure(): void
    {
        $this
            ->addOption('adopt', null, InputOption::VALUE_REQUIRED, 'Let the processes of this cluster send the '
                . 'messages of a directory (its name)')
            ->addOption('broker', null, InputOption::VALUE_REQUIRED, 'Broker name in the configuration', 'kafka')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print one JSON object per line')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name%</info>
                  <info>%command.full_name% --adopt=shop-realtime-kafka-1_9092-5ad1c6e0f3a7b924</info>

                Messages wait in one directory for each cluster, topic_prefix and application, and are sent by
                processes with the same. A changed broker list does not matter once a process has reached the
                cluster. Directories that this configuration does not send are marked: adopt one only if its
                messages belong to the cluster of this configuration.

                Exit codes: 0 done, 1 Kafka is unreachable, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $name = (string) OptionValue::text('--broker', $input->getOption('broker'));
        $this->host->config();
        $settings = (new Admin(['broker' => $name]))->configuration();
        $spool = $settings['spool'];
        if ($spool === null) {
            throw new UsageError('No spool is configured (spool, REALTIME_SPOOL).');
        }
        $adopt = OptionValue::text('--adopt', $input->getOption('adopt'));
        if ($adopt !== null) {
            if (basename($adopt) !== $adopt || !is_file("$spool/$adopt/about.json")) {
                throw new UsageError("$spool/$adopt is no directory of the spool. {$this->getName()} lists them.");
            }

            return $this->adopt($output, "$spool/$adopt", $this->cluster($name));
        }
        try {
            $cluster = $this->cluster($name);
        } catch (RealtimeException) {
            // Listed anyway, by the addresses of the brokers.
            $cluster = null;
        }
        $state = new SpoolState($spool);
        foreach ($state->unreadable as $path) {
            $this->write($this->errors($output), ["$path cannot be read by this user."]);
        }
        $directories = array_filter(
            $state->directories,
            static fn (SpoolDirectory $one) => $one->messages + $one->failed + $one->damaged > 0
        );
        foreach ($directories as $one) {
            $isOwn = $one->isSentBy($settings, $cluster);
            $input->getOption('json') ? $this->writeJson($output, [
                'directory' => basename($one->path), 'messages' => $one->messages, 'oldest_seconds' => $one->age(),
                'failed' => $one->failed, 'damaged' => $one->damaged, 'brokers' => $one->brokers,
                'cluster' => $one->cluster, 'topic_prefix' => $one->prefix, 'application' => $one->application,
                'sent_by_this_configuration' => $isOwn,
            ]) : $this->write($output, array_map(Text::printable(...), [
                basename($one->path),
                '  ' . Text::count($one->messages, 'message') . ' waiting'
                    . ($one->age() === null ? '' : ', the oldest for ' . $one->age() . ' s')
                    . ", $one->failed refused, " . Text::count($one->damaged, 'damaged file'),
                '  for ' . $one->owner(),
                '  ' . ($isOwn ? 'sent by the next process with this configuration'
                    : 'not sent with this configuration (--adopt)'),
            ]));
        }
        if ($directories === [] && $state->unreadable === [] && !$input->getOption('json')) {
            $this->write($output, [Text::printable("$spool is empty")]);
        }

        return self::DONE;
    }

    private function adopt(OutputInterface $output, string $path, ?string $cluster): int
    {
        if ($cluster === null || str_starts_with($cluster, 'mockCluster')) {
            throw new UsageError('This Kafka has no cluster id: set brokers to those in about.json instead.');
        }
        $directory = new SpoolDirectory($path);
        if ($directory->isHeld()) {
            throw new UsageError("A running process uses $path. Stop it first.");
        }
        $about = (array) json_decode((string) file_get_contents("$path/about.json"), true);
        $text = json_encode(['adopted_by' => $cluster] + $about, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES);
        $part = "$path/.about.json." . getmypid();
        if (@file_put_contents($part, "$text\n") === false || !@rename($part, "$path/about.json")) {
            throw new UsageError("$path/about.json cannot be written. Run this as the user that runs PHP.");
        }
        if (function_exists('posix_geteuid') && posix_geteuid() === 0) {
            // The user that runs PHP reads it.
            @chown("$path/about.json", (int) fileowner($path));
        }
        @chmod("$path/about.json", 0600);
        $this->write($output, [Text::printable(
            Text::count($directory->messages, 'message') . " of $path " . ($directory->messages === 1 ? 'is' : 'are')
            . " sent by the next process that broadcasts to cluster $cluster."
        )]);

        return self::DONE;
    }

    private function cluster(string $broker): ?string
    {
        $admin = new Admin(['broker' => $broker]);
        try {
            return $admin->cluster()['id'] ?? null;
        } finally {
            $admin->close();
        }
    }
}
