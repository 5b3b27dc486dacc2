<?php

/**
 * An order of a customer: placed, then paid.
 */

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

final class Order extends Model
{
    public $timestamps = false;

    /** @var array<int, string> */
    protected $guarded = [];

    /** @var array<string, string> */
    protected $casts = ['user_id' => 'integer', 'total' => 'float'];
}
