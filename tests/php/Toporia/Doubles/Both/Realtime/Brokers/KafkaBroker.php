<?php

/**
 * The framework's own broker, which must never be loaded together with ours.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Brokers;

throw new \LogicException('The framework\'s own KafkaBroker was loaded.');
