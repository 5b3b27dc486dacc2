<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

/**
 * A plain object: public, protected, private, typed, uninitialised and readonly properties.
 */
class Record
{
    public mixed $first = null;
    public ?string $neverSet;
    public int $Üname = 5;
    protected string $hidden = 'no';
    public readonly float $fixed;
    private string $secret = 'no';

    public function __construct(mixed $first, float $fixed = 0.5)
    {
        $this->first = $first;
        $this->fixed = $fixed;
        if ($fixed > 1.0) {
            unset($this->Üname);
        }
    }

    public function hide(): string
    {
        return $this->secret;
    }
}
