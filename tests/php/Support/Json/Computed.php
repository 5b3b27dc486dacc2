<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

use Closure;
use JsonSerializable;

/**
 * An object whose JSON form is computed from itself.
 */
final class Computed implements JsonSerializable
{
    public int $calls = 0;
    public mixed $inside = null;
    protected int $hidden = 2;
    private Closure $compute;

    /**
     * @param Closure(self): mixed $compute
     */
    public function __construct(Closure $compute)
    {
        $this->compute = $compute;
    }

    public function jsonSerialize(): mixed
    {
        $this->calls++;

        return ($this->compute)($this);
    }
}
