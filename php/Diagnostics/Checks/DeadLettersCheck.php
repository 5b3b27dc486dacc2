<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Worker\Text;

/** Counts dead letters. */
final class DeadLettersCheck extends Check
{
    public const NAME = 'dead-letters';
    public const TITLE = 'Dead letters';
    public const NEEDS = ['client'];
    private const MAX_TOPICS = 200;

    public function run(Context $context): iterable
    {
        $wanted = array_map($context->plan()->deadLetters->deadLetters(...), $context->consumed());
        $topics = array_values(array_intersect($context->topicNames(), $wanted));
        $letters = [];
        $spans = $context->admin()->offsetsOfTopics(array_slice($topics, 0, self::MAX_TOPICS));
        foreach ($spans as $topic => ['partitions' => $partitions]) {
            $count = array_sum(array_column($partitions, 'end')) - array_sum(array_column($partitions, 'beginning'));
            if ($count > 0) {
                $letters[$topic] = $count;
            }
        }
        arsort($letters);
        $total = array_sum($letters);
        if ($total === 0) {
            yield Finding::ok('dead letters', $context->settings['dlq'] ? 'none'
                : 'none; dlq is off: a message that fails permanently stops its worker', ['count' => 0]);

            return;
        }
        $topic = (string) array_key_first($letters);
        $original = $context->plan()->deadLetters->original($topic);
        yield Finding::warning(
            'dead letters',
            Text::count($total, 'message') . ' could not be handled (including replayed ones), in '
                . Text::names(array_map('strval', array_keys($letters))),
            "realtime:dlq:list --topic=$original shows the reason; once it is fixed: realtime:dlq:replay, or "
                . "realtime:dlq:purge",
            ['count' => $total, 'topics' => $letters]
        );
    }
}
