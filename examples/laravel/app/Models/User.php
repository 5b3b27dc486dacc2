<?php

/**
 * A user is a customer of the shop.
 */

declare(strict_types=1);

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;

final class User extends Authenticatable
{
    public $timestamps = false;

    /** @var array<int, string> */
    protected $guarded = [];
}
