<?php

/**
 * (a) json_encode alone: the time PHP takes to write the envelope, without Kafka. Arguments: ignored, messages.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Meter;

require __DIR__ . '/begin.php';

$messages = (int) $argv[2];
$prefix = substr(bin2hex(random_bytes(16)), 0, 29);
$size = strlen((string) json_encode(Load::envelope($prefix . 1000000, 0)));
if ($size !== Load::BYTES) {
    throw new LogicException("The envelope has $size bytes instead of " . Load::BYTES . '.');
}

$meter = Meter::start();
for ($n = 0; $n < $messages; $n++) {
    $json = json_encode(Load::envelope($prefix . (1000000 + $n), $n), JSON_THROW_ON_ERROR);
}
$meter->report($messages, ['delivered' => $messages]);
