<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

use AllowDynamicProperties;

/**
 * A subclass with properties of its own and room for dynamic ones.
 */
#[AllowDynamicProperties]
final class SubRecord extends Record
{
    /** @var array<mixed> */
    public array $more = [];
    private string $secret = 'also no';
    protected string $hidden = 'still no';

    public function reveal(): string
    {
        return $this->secret . $this->hidden;
    }
}
