<?php

/**
 * Loads the routes of the example, and the broadcasting routes that Echo calls for channel authorization.
 */

declare(strict_types=1);

namespace App\Providers;

use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

final class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        Route::middleware('web')->group(base_path('routes/web.php'));
        Broadcast::routes();
        require base_path('routes/channels.php');
    }
}
